"""Sample event arrivals for tests."""

from __future__ import annotations

from dataclasses import replace

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import EndpointId, new_id
from delivery.ledger.search.timeline import TracedEndpoint
from delivery.services.timeline.event_entries import EventArrival
from tests.unit.cli.records import DELIVERY, ENDPOINT, EVENT

AT = EVENT.created_at
OWED_TO = TracedEndpoint(
    id=ENDPOINT.id,
    url=ENDPOINT.url,
    filter=("order.*",),
    operational=False,
    attempts=None,
    updated_at=AT,
    deleted_at=None,
)
OTHER = replace(OWED_TO, id=EndpointId(new_id()), filter=("invoice.*", "user.left"))
MATCHED = replace(DELIVERY, status=DeliveryStatus.IN_FLIGHT)
ARRIVAL = EventArrival(
    event=replace(EVENT, matched=1),
    owed=[(MATCHED, OWED_TO)],
    others=[OTHER],
    changes={},
    made_later=0,
    left_out=(),
)
NOWHERE = replace(ARRIVAL, event=replace(EVENT, matched=0), owed=[])
