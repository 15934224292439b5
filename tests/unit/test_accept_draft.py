"""Fan-out: which rows an event becomes, and what its receivers and its producer get to read."""

from __future__ import annotations

import hashlib
import itertools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.accept import AcceptLimits, NewEvent, parse_event
from delivery.accept.draft import Draft, Subscriptions, draft
from delivery.filters import matches
from delivery.model import EndpointId, Prefix, TenantId, parse_id

if TYPE_CHECKING:
    from delivery.ledger.accepting import DeliveryRow, EventRow

NOW = datetime(2026, 11, 22, 12, 30, 0, 4_999, tzinfo=UTC)
TENANT = TenantId(UUID(int=7))
ONE, TWO, THREE = (EndpointId(UUID(int=number)) for number in (101, 102, 103))
FILTERS = Subscriptions.of([(ONE, ("*",)), (TWO, ("order.*",)), (THREE, ("invoice.paid", "order.created"))])
NOTHING = Subscriptions.of([])


def drafted(*events: NewEvent, subscriptions: Subscriptions = FILTERS, single: bool = False) -> Draft:
    numbers = itertools.count(1)
    return draft(
        TENANT,
        events,
        subscriptions.matching,
        single=single,
        now=NOW,
        new_id=lambda: UUID(int=next(numbers)),
    )


def test_an_event_is_owed_once_to_each_endpoint_that_matches() -> None:
    made = drafted(NewEvent("order.created", b"1"), NewEvent("user.left", b"2"))
    first, second = made.events
    assert [(d.event_id, d.endpoint_id) for d in made.deliveries] == [
        (first.id, ONE),
        (first.id, TWO),
        (first.id, THREE),
        (second.id, ONE),
    ]
    assert [event.matched for event in made.events] == [3, 1]


def test_each_row_has_an_id_of_its_own_and_carries_tenant_type_and_moment() -> None:
    made = drafted(NewEvent("order.created", b"1"), NewEvent("order.created", b"1"))
    rows: list[EventRow | DeliveryRow] = [*made.events, *made.deliveries]
    assert len({row.id for row in rows}) == 8
    assert {(row.tenant_id, row.created_at) for row in rows} == {(TENANT, NOW)}
    assert {row.event_type for row in made.deliveries} == {"order.created"}


def test_an_event_that_nobody_asked_for_is_kept_and_owed_to_nobody() -> None:
    made = drafted(NewEvent("order.created", b"1"), subscriptions=NOTHING)
    assert made.deliveries == []
    assert [event.matched for event in made.events] == [0]


def test_the_body_is_type_timestamp_and_data_and_its_hash_is_kept() -> None:
    (event,) = drafted(NewEvent("order.created", b'{"id": 1}')).events
    assert event.body == b'{"type":"order.created","timestamp":"2026-11-22T12:30:00.004Z","data":{"id": 1}}'
    assert event.body_sha256 == hashlib.sha256(event.body).digest()


def test_a_single_event_is_answered_by_itself_and_a_batch_by_a_list() -> None:
    single = drafted(NewEvent("order.created", b"1"), single=True)
    answer = json.loads(single.answer)
    assert answer == {
        "id": answer["id"],
        "type": "order.created",
        "created_at": "2026-11-22T12:30:00.004Z",
        "deliveries": 3,
    }
    assert parse_id(Prefix.EVENT, answer["id"]) == single.events[0].id
    batch = drafted(NewEvent("order.created", b"1"), NewEvent("user.left", b"2"))
    answers = json.loads(batch.answer)["events"]
    assert [parse_id(Prefix.EVENT, each["id"]) for each in answers] == [event.id for event in batch.events]
    assert [each["deliveries"] for each in answers] == [3, 1]


@pytest.mark.parametrize("data", [b"9" * 30, b'{"a":1,"a":2}', b'{ "a" : 1.10 }', rb'"\u0000\/"'])
def test_receivers_get_data_byte_for_byte_in_valid_json(data: bytes) -> None:
    event = parse_event(b'{"type":"a","data":' + data + b"}", AcceptLimits())
    (row,) = drafted(event).events
    assert row.body.endswith(b'"data":' + data + b"}")
    assert json.loads(row.body)["data"] == json.loads(data)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_data_that_was_taken_goes_out_as_it_came(value: object) -> None:
    data = json.dumps(value).encode()
    (row,) = drafted(NewEvent("a", data)).events
    assert data in row.body
    assert json.loads(row.body) == {"type": "a", "timestamp": "2026-11-22T12:30:00.004Z", "data": value}


@given(
    st.lists(st.lists(st.sampled_from(["*", "a", "a.b", "a.*", "b.*", "c"]), max_size=3), max_size=6),
    st.lists(st.sampled_from(["a", "a.b", "a.b.c", "b", "b.x", "c"]), max_size=8),
)
def test_what_is_remembered_of_filters_is_what_they_say(filters: list[list[str]], types: list[str]) -> None:
    subscriptions = Subscriptions.of([(EndpointId(UUID(int=n)), f) for n, f in enumerate(filters)])
    for event_type in types:
        matching = subscriptions.matching(event_type)
        assert [endpoint for endpoint, _ in matching] == [
            UUID(int=n) for n, patterns in enumerate(filters) if matches(patterns, event_type)
        ]
        assert all(pattern is not None and matches([pattern], event_type) for _, pattern in matching)


def test_a_tenant_that_invents_types_does_not_fill_memory() -> None:
    subscriptions = Subscriptions.of([(ONE, ("*",))])
    for number in range(1_500):
        assert subscriptions.matching(f"type_{number}") == [(ONE, "*")]
    remembered = [subscriptions.matching(f"type_{number}") for number in range(1_500)]
    # The same list again where it was remembered, a new one where there was no more room.
    assert sum(subscriptions.matching(f"type_{n}") is found for n, found in enumerate(remembered)) <= 1_000
