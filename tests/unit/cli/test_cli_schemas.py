"""A script that reads the command line's JSON can read the API's, and the other way round."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter

from delivery.cli.output.pages import print_page_json
from delivery.cli.output.table import print_json
from delivery.domain.attempt import BodyUnavailable
from delivery.domain.delivery import ActiveHold
from delivery.domain.ids import Prefix, format_id
from delivery.domain.pagination import Page
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage
from delivery.schemas.api_keys import KeyOut, NewKeyOut
from delivery.schemas.deliveries import AttemptDetailOut, AttemptOut, DeliveryOut
from delivery.schemas.endpoints import EndpointDetailOut, EndpointOut, NewSecretOut, SecretOut
from delivery.schemas.events import EventOut, to_event_document
from delivery.schemas.sequences import SequencedDeliveryList
from delivery.schemas.tenants import TenantOut
from delivery.schemas.timeline import DeliveryTraceOut, EventTraceOut
from delivery.services.deliveries import AttemptDetails
from delivery.services.timeline import delivery_entries, event_entries
from retries.health import Hold
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
        left_out=("Only the newest 200 are shown.",),
    )
)
EVENT_TRACE = event_entries.build_event_timeline(ARRIVAL)
ERASED = replace(ATTEMPT, response_headers=(), response_body=b"", erased_at=MADE)
DETAILS = [
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

SHAPES = [
    TenantOut.from_record(TENANT),
    KeyOut.from_record(KEY),
    NewKeyOut.from_record(KEY, key="wbk_x"),
    EndpointOut.from_record(ENDPOINT),
    EndpointOut.from_record(replace(ENDPOINT, schedule=None, timeout=None)),
    EndpointDetailOut.from_details(ENDPOINT, [SECRET]),
    SecretOut.from_record(SECRET),
    NewSecretOut.from_record(SECRET, secret=NEW_SECRET.text),
    EventOut.from_record(EVENT),
    EventOut.from_record(replace(EVENT, erased_at=MADE)),
    DeliveryOut.from_record(DELIVERY),
    DeliveryOut.from_record(HELD),
    DeliveryTraceOut.from_record(DELIVERY_TRACE),
    EventTraceOut.from_record(EVENT_TRACE),
    AttemptOut.from_record(ATTEMPT),
    AttemptOut.from_record(replace(ATTEMPT, status=None)),
    *(AttemptDetailOut.from_details(details) for details in DETAILS),
    SequencedDeliveryList.from_record(NUMBERS),
    SequencedDeliveryList.from_record(SequencePage((), None, None, 0)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_the_command_line_shows_what_the_api_shows(
    shape: BaseModel, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = TypeAdapter(type(shape)).dump_json(shape, by_alias=True)  # as FastAPI writes it
    print_json(shape)
    assert json.loads(capsys.readouterr().out) == json.loads(answer)


def test_a_page_tells_where_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    print_page_json(Page((TENANT,), TENANT.id), TenantOut.from_record, Prefix.TENANT)
    page = json.loads(capsys.readouterr().out)
    assert page == {
        "items": [TenantOut.from_record(TENANT).model_dump(mode="json")],
        "next": format_id(Prefix.TENANT, TENANT.id),
    }
    print_page_json(Page((), None), TenantOut.from_record, Prefix.TENANT)
    assert json.loads(capsys.readouterr().out) == {"items": [], "next": None}


def test_raw_parts_keep_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(to_event_document(EVENT, b'{"data":1.10}'))
    assert "1.10" in capsys.readouterr().out
