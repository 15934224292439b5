"""A script that reads the command line's JSON can read the API's, and the other way round."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from delivery.api.routes.api_keys import KeyOut, NewKeyOut
from delivery.api.routes.reconcile import SequencedDeliveryList
from delivery.api.routes.tenants import TenantOut
from delivery.cli.output import json_shapes, json_timeline
from delivery.domain.delivery import ActiveHold
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage
from delivery.schemas.deliveries import AttemptDetailOut as AttemptToldOut
from delivery.schemas.deliveries import AttemptOut, DeliveryOut
from delivery.schemas.endpoints import EndpointOut, NewSecretOut, SecretOut
from delivery.schemas.events import EventOut
from delivery.schemas.timeline import DeliveryTraceOut, EventTraceOut
from delivery.services.deliveries import AttemptDetails, BodyUnavailable
from delivery.services.timeline import delivery_entries, event_entries
from retries import Hold
from tests.unit.cli.records import ATTEMPT, DELIVERY, ENDPOINT, EVENT, KEY, MADE, NEW_SECRET, SECRET, TENANT
from tests.unit.timeline.arrivals import ARRIVAL
from tests.unit.timeline.stories import STORY, entry
from tests.unit.timeline.stories import attempt as tried

if TYPE_CHECKING:
    from pydantic import BaseModel

HELD = replace(DELIVERY, held=ActiveHold(Hold.PAUSED, since=MADE, reason="moving house"))
DELIVERY_TRACE = delivery_entries.build_delivery_timeline(
    replace(
        STORY,
        delivery=HELD,
        attempts=[tried(1, claimed=1, next_due=5)],
        entries_since=[entry("endpoint.waiting", 2, until="2026-11-22T18:05:00.123456Z")],
        left_out=("Only the newest 200 are told of.",),
    )
)
EVENT_TRACE = event_entries.build_event_timeline(ARRIVAL)
ERASED = replace(ATTEMPT, response_headers=(), response_body=b"", erased_at=MADE)
TOLD = [
    AttemptDetails(ATTEMPT, b"{}"),
    AttemptDetails(ATTEMPT, None, BodyUnavailable.SETTINGS_CHANGED),
    AttemptDetails(ERASED, None, BodyUnavailable.NOT_KEPT),
]
NUMBERS = SequencePage(
    items=(
        SequencedDelivery(7, DELIVERY.id, EVENT.id, EVENT.type, DELIVERY.status, 2, MADE, None),
        SequencedDelivery(8, DELIVERY.id, EVENT.id, EVENT.type, DELIVERY.status, 0, MADE, MADE),
    ),
    next_sequence=8,
    earliest=3,
    latest=12,
)

SAME = [
    (json_shapes.tenant(TENANT), TenantOut.from_record(TENANT)),
    (json_shapes.key(KEY), KeyOut.from_record(KEY)),
    (json_shapes.key(KEY, key="wbk_x"), NewKeyOut.from_record(KEY, key="wbk_x")),
    (json_shapes.endpoint(ENDPOINT), EndpointOut.from_record(ENDPOINT)),
    (
        json_shapes.endpoint(replace(ENDPOINT, schedule=None, timeout=None)),
        EndpointOut.from_record(replace(ENDPOINT, schedule=None, timeout=None)),
    ),
    (json_shapes.secret(SECRET), SecretOut.from_record(SECRET)),
    (json_shapes.new_secret(NEW_SECRET), NewSecretOut.from_record(SECRET, secret=NEW_SECRET.text)),
    (json_shapes.event(EVENT), EventOut.from_record(EVENT)),
    (json_shapes.delivery(DELIVERY), DeliveryOut.from_record(DELIVERY)),
    (json_shapes.delivery(HELD), DeliveryOut.from_record(HELD)),
    (json_timeline.delivery_trace(DELIVERY_TRACE), DeliveryTraceOut.from_record(DELIVERY_TRACE)),
    (json_timeline.event_trace(EVENT_TRACE), EventTraceOut.from_record(EVENT_TRACE)),
    (json_shapes.attempt(ATTEMPT), AttemptOut.from_record(ATTEMPT)),
    (
        json_shapes.attempt(replace(ATTEMPT, status=None)),
        AttemptOut.from_record(replace(ATTEMPT, status=None)),
    ),
    *((json_shapes.attempt_told(one), AttemptToldOut.from_details(one)) for one in TOLD),
    (json_shapes.event(replace(EVENT, erased_at=MADE)), EventOut.from_record(replace(EVENT, erased_at=MADE))),
    (json_shapes.numbered(NUMBERS), SequencedDeliveryList.from_record(NUMBERS)),
    (
        json_shapes.numbered(SequencePage((), None, None, 0)),
        SequencedDeliveryList.from_record(SequencePage((), None, None, 0)),
    ),
]


@pytest.mark.parametrize(("ours", "of_the_api"), SAME, ids=lambda shape: type(shape).__name__)
def test_the_command_line_shows_what_the_api_shows(ours: object, of_the_api: BaseModel) -> None:
    assert json.loads(msgspec.json.encode(ours)) == of_the_api.model_dump(mode="json")


def test_a_page_tells_where_to_go_on() -> None:
    page = json_shapes.page([json_shapes.tenant(TENANT)], Prefix.TENANT, TENANT.id)
    assert page["next"] == format_id(Prefix.TENANT, TENANT.id)
    assert json_shapes.page([], Prefix.TENANT, None) == {"items": [], "next": None}


def test_an_events_body_keeps_its_numbers() -> None:
    told = json_shapes.event_told(EVENT, b'{"data":1.10}')
    assert b"1.10" in msgspec.json.encode(told)
