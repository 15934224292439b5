"""Selections: plain JSON and back, and when one has no bound."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter, check_http_status, check_outcome
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
