"""Delivery filters: read from raw values, and written to plain JSON and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import (
    MAX_FILTER_VALUES,
    DeliveryFilter,
    check_http_status,
    check_outcome,
    parse_delivery_filter,
)
from delivery.domain.filter_fields import InvalidFilter
from delivery.domain.ids import EndpointId, EventId
from delivery.domain.payload_path import PayloadEquals
from retries.health import Hold
from retries.outcome import OUTCOME_NAMES

IDS = st.integers(0, (1 << 128) - 1).map(lambda number: UUID(int=number))
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis wants naive bounds
CONDITIONS = st.sampled_from(["$.a=1", "$['b c'][0]=x"]).map(PayloadEquals.parse)
SELECTIONS = st.builds(
    DeliveryFilter,
    endpoints=st.lists(IDS.map(EndpointId), max_size=2).map(tuple),
    event_id=st.none() | IDS.map(EventId),
    types=st.lists(st.sampled_from(["*", "a", "a.*", "a.b"]), max_size=2).map(tuple),
    statuses=st.lists(st.sampled_from(list(DeliveryStatus)), max_size=2).map(tuple),
    outcomes=st.lists(st.sampled_from(sorted(OUTCOME_NAMES)), max_size=2).map(tuple),
    http=st.lists(st.sampled_from(["503", "5xx"]), max_size=2).map(tuple),
    since=st.none() | MOMENTS,
    until=st.none() | MOMENTS,
    attempts_min=st.none() | st.integers(0, 9),
    attempts_max=st.none() | st.integers(0, 9),
    idempotency_key=st.none() | st.text(min_size=1),
    payload=st.lists(st.sampled_from(["$.a=1", "$['b c'][0]=x"]).map(PayloadEquals.parse), max_size=2).map(
        tuple
    ),
    held_by=st.lists(st.sampled_from(list(Hold)), max_size=2).map(tuple),
)


@given(SELECTIONS)
def test_a_selection_is_the_same_after_it_was_written_down(selection: DeliveryFilter) -> None:
    document = json.loads(json.dumps(selection.to_document()))
    assert DeliveryFilter.from_document(document) == selection


@given(SELECTIONS)
def test_only_a_selection_without_any_filter_is_unbounded(selection: DeliveryFilter) -> None:
    assert selection.is_unbounded == (selection.to_document() == {})


@pytest.mark.parametrize("text", ["503", "5xx", "200", "1xx", "599"])
def test_statuses_and_their_classes_are_known(text: str) -> None:
    assert check_http_status(text) == text


@pytest.mark.parametrize("text", ["", "5", "6xx", "99", "5XX", "5xx,4xx", "600", "2000"])
def test_what_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="503"):
        check_http_status(text)


def test_what_is_no_outcome_is_refused_with_those_that_are() -> None:
    assert check_outcome("refused") == "refused"
    with pytest.raises(ValueError, match="timed_out"):
        check_outcome("lost")


def test_a_range_must_not_end_before_it_begins() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    parse_delivery_filter({"since": early, "until": late})
    parse_delivery_filter({"since": early, "until": early})
    parse_delivery_filter({"since": None, "until": early})
    with pytest.raises(InvalidFilter) as refused:
        parse_delivery_filter({"since": late, "until": early})
    assert refused.value.errors == {"until": "must not be before since"}


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse_delivery_filter({"status": ["lost"], "type": ["order.*"], "endpoint": ["ep_1"]})
    assert set(refused.value.errors) == {"status", "endpoint"}
    assert refused.value.field == "status"


def test_values_that_are_no_text_are_taken_as_they_are() -> None:
    id_ = EndpointId(UUID(int=1))
    read = parse_delivery_filter({"endpoint": [id_, id_], "attempts_min": 2, "event": None, "type": []})
    assert read == DeliveryFilter(endpoints=(id_,), attempts_min=2)


def test_a_list_of_values_is_bounded_unless_told_otherwise() -> None:
    types = [f"type_{number}" for number in range(MAX_FILTER_VALUES + 1)]
    with pytest.raises(InvalidFilter, match="at most 50 values, not 51"):
        parse_delivery_filter({"type": types})
    assert parse_delivery_filter({"type": types}, limited=False).types == tuple(types)


def test_ages_count_back_from_now() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert parse_delivery_filter({"since": "1d"}, now=now).since == now - timedelta(days=1)
    with pytest.raises(InvalidFilter, match="since"):
        parse_delivery_filter({"since": "1d"})
