"""Fan-out: the rows of an event, the body for its receivers, and the answer to its producer."""

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

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.event_patterns import matches_any_pattern
from delivery.domain.ids import EndpointId, Prefix, TenantId, parse_id
from delivery.domain.subscription import Subscription, match_event
from delivery.pipeline.fanout import FanoutPlan, Match, Subscriptions, plan_fanout
from delivery.pipeline.parsing import IntakeLimits, NewEvent, parse_event

if TYPE_CHECKING:
    from delivery.ledger.queue.enqueue import DeliveryRow, EventRow

NOW = datetime(2026, 11, 22, 12, 30, 0, 4_999, tzinfo=UTC)
TENANT = TenantId(UUID(int=7))
ONE, TWO, THREE = (EndpointId(UUID(int=number)) for number in (101, 102, 103))
FILTERS = Subscriptions.from_entries(
    [
        (ONE, Subscription(("*",))),
        (TWO, Subscription(("order.*",))),
        (THREE, Subscription(("invoice.paid", "order.created"))),
    ]
)
NOTHING = Subscriptions.from_entries([])


def plan_events(
    *events: NewEvent, subscriptions: Subscriptions = FILTERS, single: bool = False
) -> FanoutPlan:
    numbers = itertools.count(1)
    return plan_fanout(
        TENANT,
        events,
        [subscriptions.match_event(event) for event in events],
        single=single,
        now=NOW,
        new_id=lambda: UUID(int=next(numbers)),
    )


def test_an_event_is_owed_once_to_each_endpoint_that_matches() -> None:
    plan = plan_events(NewEvent("order.created", b"1"), NewEvent("user.left", b"2"))
    first, second = plan.events
    assert [(d.event_id, d.endpoint_id) for d in plan.deliveries] == [
        (first.id, ONE),
        (first.id, TWO),
        (first.id, THREE),
        (second.id, ONE),
    ]
    assert [event.matched for event in plan.events] == [3, 1]


def test_each_row_has_its_own_id_tenant_and_type() -> None:
    plan = plan_events(NewEvent("order.created", b"1"), NewEvent("order.created", b"1"))
    rows: list[EventRow | DeliveryRow] = [*plan.events, *plan.deliveries]
    assert len({row.id for row in rows}) == 8
    assert {row.tenant_id for row in rows} == {TENANT}
    assert {row.event_type for row in plan.deliveries} == {"order.created"}


def test_an_event_without_a_subscriber_has_no_deliveries() -> None:
    plan = plan_events(NewEvent("order.created", b"1"), subscriptions=NOTHING)
    assert plan.deliveries == []
    assert [event.matched for event in plan.events] == [0]


def test_the_body_has_type_timestamp_and_data() -> None:
    (event,) = plan_events(NewEvent("order.created", b'{"id": 1}')).events
    assert event.body == b'{"type":"order.created","timestamp":"2026-11-22T12:30:00.004Z","data":{"id": 1}}'
    assert event.body_sha256 == hashlib.sha256(event.body).digest()


def test_a_single_event_is_answered_by_itself_and_a_batch_by_a_list() -> None:
    single = plan_events(NewEvent("order.created", b"1"), single=True)
    answer = json.loads(single.response_body)
    assert answer == {
        "id": answer["id"],
        "type": "order.created",
        "created_at": "2026-11-22T12:30:00.004Z",
        "deliveries": 3,
    }
    assert parse_id(Prefix.EVENT, answer["id"]) == single.events[0].id
    batch = plan_events(NewEvent("order.created", b"1"), NewEvent("user.left", b"2"))
    answers = json.loads(batch.response_body)["events"]
    assert [parse_id(Prefix.EVENT, each["id"]) for each in answers] == [event.id for event in batch.events]
    assert [each["deliveries"] for each in answers] == [3, 1]


@pytest.mark.parametrize("data", [b"9" * 30, b'{"a":1,"a":2}', b'{ "a" : 1.10 }', rb'"\u0000\/"'])
def test_receivers_get_data_byte_for_byte_in_valid_json(data: bytes) -> None:
    event = parse_event(b'{"type":"a","data":' + data + b"}", IntakeLimits())
    (row,) = plan_events(event).events
    assert row.body.endswith(b'"data":' + data + b"}")
    assert json.loads(row.body)["data"] == json.loads(data)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_data_is_sent_byte_for_byte(value: object) -> None:
    data = json.dumps(value).encode()
    (row,) = plan_events(NewEvent("a", data)).events
    assert data in row.body
    assert json.loads(row.body) == {"type": "a", "timestamp": "2026-11-22T12:30:00.004Z", "data": value}


@given(
    st.lists(st.lists(st.sampled_from(["*", "a", "a.b", "a.*", "b.*", "c"]), max_size=3), max_size=6),
    st.lists(st.sampled_from(["a", "a.b", "a.b.c", "b", "b.x", "c"]), max_size=8),
)
def test_cached_matches_equal_the_filters(filters: list[list[str]], types: list[str]) -> None:
    subscriptions = Subscriptions.from_entries(
        [(EndpointId(UUID(int=n)), Subscription(tuple(f))) for n, f in enumerate(filters)]
    )
    for event_type in types:
        owed = subscriptions.match_event(NewEvent(event_type, b"1"))
        assert [match.endpoint_id for match in owed] == [
            UUID(int=n) for n, patterns in enumerate(filters) if matches_any_pattern(patterns, event_type)
        ]
        assert all(
            match.pattern is not None and matches_any_pattern([match.pattern], event_type) for match in owed
        )


def test_the_match_cache_of_a_tenant_is_bounded() -> None:
    subscriptions = Subscriptions.from_entries([(ONE, Subscription(("*",)))])
    events = [NewEvent(f"type_{number}", b"1") for number in range(1_500)]
    for event in events:
        assert subscriptions.match_event(event) == [Match(ONE, "*")]
    remembered = [subscriptions.match_event(event) for event in events]
    # The same list for cached types, a new one for those beyond the bound.
    same = [
        subscriptions.match_event(event) is found for event, found in zip(events, remembered, strict=True)
    ]
    assert sum(same) <= 1_000


# ------------------------------------------------------------------ channels and conditions
def owed_to(wants: dict[EndpointId, Subscription], event: NewEvent) -> list[Match]:
    return list(Subscriptions.from_entries(list(wants.items())).match_event(event))


def test_channels_filter_only_endpoints_that_set_them() -> None:
    wants = {
        ONE: Subscription(("*",)),
        TWO: Subscription(("*",), ("eu", "us")),
        THREE: Subscription(("*",), ("us",)),
    }
    assert owed_to(wants, NewEvent("a", b"1")) == [Match(ONE, "*")]
    assert owed_to(wants, NewEvent("a", b"1", ("eu",))) == [Match(ONE, "*"), Match(TWO, "*")]
    assert owed_to(wants, NewEvent("a", b"1", ("us", "eu"))) == [Match(each, "*") for each in wants]
    assert owed_to(wants, NewEvent("a", b"1", ("asia",))) == [Match(ONE, "*")]


def test_a_condition_filters_and_a_failing_one_delivers_with_its_error() -> None:
    wants = {
        ONE: Subscription(("*",), condition="total > `100`"),
        TWO: Subscription(("*",), condition="total > `200`"),
        THREE: Subscription(("*",), condition="starts_with(total, '1')"),
    }
    one, three = owed_to(wants, NewEvent("a", b'{"total": 120}'))
    assert one == Match(ONE, "*")
    assert three.endpoint_id == THREE
    assert three.condition_error == "starts_with() takes string, not number."


def test_data_is_not_read_where_no_candidate_has_a_condition() -> None:
    wants = {ONE: Subscription(("*",), ("eu",)), TWO: Subscription(("b",), condition="total > `200`")}
    unreadable = NewEvent("a", b"{not json", ("eu",))
    assert owed_to(wants, unreadable) == [Match(ONE, "*")]
    (read,) = owed_to(wants, NewEvent("b", b"{not json"))
    assert read.condition_error == "The payload cannot be read."


def test_rows_have_channels_and_condition_errors() -> None:
    subscriptions = Subscriptions.from_entries([(ONE, Subscription(("*",), condition="length(@) > `1`"))])
    plan = plan_events(NewEvent("a", b"1", ("eu", "us")), subscriptions=subscriptions)
    assert plan.events[0].channels == ("eu", "us")
    assert plan.deliveries[0].condition_failed is not None
    assert json.loads(plan.events[0].body).keys() == {"type", "timestamp", "data"}


CHANNELS = st.lists(st.sampled_from(["eu", "us", "asia"]), unique=True, max_size=3).map(tuple)
CONDITIONS = st.sampled_from([None, "n > `1`", "starts_with(n, 'a')", "tags[0] == 'x'", "sort(n)"])
WANTS = st.builds(
    Subscription, st.lists(st.sampled_from(["*", "a", "a.*"]), max_size=2).map(tuple), CHANNELS, CONDITIONS
)


@given(
    st.lists(WANTS, max_size=6),
    st.sampled_from(["a", "a.b", "b"]),
    CHANNELS,
    st.sampled_from([b"1", b'{"n": 2}', b'{"n": "ab", "tags": ["x"]}', b'{"n": 1}']),
)
def test_fan_out_agrees_with_matching_each_endpoint(
    wants: list[Subscription], event_type: str, channels: tuple[str, ...], data: bytes
) -> None:
    every = [(EndpointId(UUID(int=n)), one) for n, one in enumerate(wants)]
    event = NewEvent(event_type, data, channels)
    judged = {id_: match_event(one, event_type, channels, ConditionEvaluator(data)) for id_, one in every}
    assert Subscriptions.from_entries(every).match_event(event) == [
        Match(id_, found.pattern, None if found.condition_result is None else found.condition_result.error)
        for id_, found in judged.items()
        if found.is_match
    ]
