"""A script that reads the command line's JSON can read the API's, and the other way round."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from delivery.api.delivery_shapes import AttemptOut, DeliveryOut
from delivery.api.delivery_shapes import AttemptTold as AttemptToldOut
from delivery.api.endpoint_shapes import EndpointOut, NewSecretOut, SecretOut
from delivery.api.event_shapes import EventOut
from delivery.api.keys import KeyOut, NewKeyOut
from delivery.api.reconcile import NumberedList
from delivery.api.tenants import TenantOut
from delivery.api.trace_shapes import DeliveryTraceOut, EventTraceOut
from delivery.cli import shapes, trace_shapes
from delivery.deliveries import AttemptTold, NoBody, Numbered, Numbers
from delivery.model import Held, Prefix, show_id
from delivery.tracing import of_delivery, of_event
from retries import Hold
from tests.unit.cli.records import ATTEMPT, DELIVERY, ENDPOINT, EVENT, KEY, MADE, NEW_SECRET, SECRET, TENANT
from tests.unit.tracing.arrivals import ARRIVAL
from tests.unit.tracing.stories import STORY, entry
from tests.unit.tracing.stories import attempt as tried

if TYPE_CHECKING:
    from pydantic import BaseModel

HELD = replace(DELIVERY, held=Held(Hold.PAUSED, since=MADE, reason="moving house"))
DELIVERY_TRACE = of_delivery.trace(
    replace(
        STORY,
        delivery=HELD,
        attempts=[tried(1, claimed=1, next_due=5)],
        meanwhile=[entry("endpoint.waiting", 2, until="2026-11-22T18:05:00.123456Z")],
        left_out=("Only the newest 200 are told of.",),
    )
)
EVENT_TRACE = of_event.trace(ARRIVAL)
ERASED = replace(ATTEMPT, response_headers=(), response_body=b"", erased_at=MADE)
TOLD = [
    AttemptTold(ATTEMPT, b"{}"),
    AttemptTold(ATTEMPT, None, NoBody.ANOTHER_SHAPE),
    AttemptTold(ERASED, None, NoBody.NOT_KEPT),
]
NUMBERS = Numbers(
    items=(
        Numbered(7, DELIVERY.id, EVENT.id, EVENT.type, DELIVERY.status, 2, MADE, None),
        Numbered(8, DELIVERY.id, EVENT.id, EVENT.type, DELIVERY.status, 0, MADE, MADE),
    ),
    next=8,
    earliest=3,
    latest=12,
)

SAME = [
    (shapes.tenant(TENANT), TenantOut.of(TENANT)),
    (shapes.key(KEY), KeyOut.of(KEY)),
    (shapes.key(KEY, key="wbk_x"), NewKeyOut.of(KEY, key="wbk_x")),
    (shapes.endpoint(ENDPOINT), EndpointOut.of(ENDPOINT)),
    (
        shapes.endpoint(replace(ENDPOINT, schedule=None, timeout=None)),
        EndpointOut.of(replace(ENDPOINT, schedule=None, timeout=None)),
    ),
    (shapes.secret(SECRET), SecretOut.of(SECRET)),
    (shapes.new_secret(NEW_SECRET), NewSecretOut.of(SECRET, secret=NEW_SECRET.text)),
    (shapes.event(EVENT), EventOut.of(EVENT)),
    (shapes.delivery(DELIVERY), DeliveryOut.of(DELIVERY)),
    (shapes.delivery(HELD), DeliveryOut.of(HELD)),
    (trace_shapes.delivery_trace(DELIVERY_TRACE), DeliveryTraceOut.of(DELIVERY_TRACE)),
    (trace_shapes.event_trace(EVENT_TRACE), EventTraceOut.of(EVENT_TRACE)),
    (shapes.attempt(ATTEMPT), AttemptOut.of(ATTEMPT)),
    (shapes.attempt(replace(ATTEMPT, status=None)), AttemptOut.of(replace(ATTEMPT, status=None))),
    *((shapes.attempt_told(one), AttemptToldOut.told(one)) for one in TOLD),
    (shapes.event(replace(EVENT, erased_at=MADE)), EventOut.of(replace(EVENT, erased_at=MADE))),
    (shapes.numbered(NUMBERS), NumberedList.of(NUMBERS)),
    (shapes.numbered(Numbers((), None, None, 0)), NumberedList.of(Numbers((), None, None, 0))),
]


@pytest.mark.parametrize(("ours", "of_the_api"), SAME, ids=lambda shape: type(shape).__name__)
def test_the_command_line_shows_what_the_api_shows(ours: object, of_the_api: BaseModel) -> None:
    assert json.loads(msgspec.json.encode(ours)) == of_the_api.model_dump(mode="json")


def test_a_page_tells_where_to_go_on() -> None:
    page = shapes.page([shapes.tenant(TENANT)], Prefix.TENANT, TENANT.id)
    assert page["next"] == show_id(Prefix.TENANT, TENANT.id)
    assert shapes.page([], Prefix.TENANT, None) == {"items": [], "next": None}


def test_an_events_body_keeps_its_numbers() -> None:
    told = shapes.event_told(EVENT, b'{"data":1.10}')
    assert b"1.10" in msgspec.json.encode(told)
