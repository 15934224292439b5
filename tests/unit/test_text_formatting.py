from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.domain.delivery import ActiveHold, Delivery, DeliveryStatus
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import Endpoint, EndpointState
from delivery.services.presentation import (
    describe_next_step,
    describe_status,
    format_relative_time,
    format_schedule,
    format_short_time,
)
from delivery.services.sentences import describe_reason
from retries.health import Hold
from retries.policy import Reason
from tests.unit.cli.records import DELIVERY, ENDPOINT

NOW = datetime(2026, 11, 22, 18, 27, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=3), "3 ms"),
        (timedelta(seconds=1.24), "1.2 s"),
        (timedelta(seconds=5), "5 s"),
        (timedelta(seconds=45), "45 s"),
        (timedelta(minutes=4, seconds=10), "4 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=7), "7 days"),
    ],
)
def test_a_duration_is_as_precise_as_a_person_can_use(duration: timedelta, said: str) -> None:
    assert format_duration(duration) == said


def test_a_moment_is_told_by_its_distance_on_both_sides_of_now() -> None:
    assert format_relative_time(NOW - timedelta(seconds=12), now=NOW) == "12 s ago"
    assert format_relative_time(NOW + timedelta(minutes=4), now=NOW) == "in 4 min"
    assert format_relative_time(NOW + timedelta(milliseconds=20), now=NOW) == "now"


def test_exact_moments_are_in_utc_whatever_their_zone() -> None:
    elsewhere = NOW.astimezone(tz=None)
    assert format_utc(elsewhere) == "2026-11-22 18:27:00 UTC"
    assert format_short_time(elsewhere) == "11-22 18:27:00"


def test_a_schedule_begins_at_once() -> None:
    assert format_schedule([timedelta(0), timedelta(seconds=5), timedelta(hours=2)]) == "at once, 5 s, 2 h"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_policy_is_a_sentence(reason: Reason) -> None:
    assert describe_reason(reason).endswith(".")
    assert " " in describe_reason(reason)


def test_what_a_person_asked_for_is_told_as_it_was_written() -> None:
    assert describe_reason("asked for again by cli:ada") == "Asked for again by cli:ada."
    assert describe_reason("endpoint_deleted").startswith("Its endpoint was deleted")


@pytest.mark.parametrize(
    ("delivery", "endpoint", "said"),
    [
        (DELIVERY, ENDPOINT, "pending: due now"),
        (replace(DELIVERY, due_at=NOW + timedelta(minutes=4)), ENDPOINT, "pending: due in 4 min"),
        (
            replace(DELIVERY, held=ActiveHold(Hold.PAUSED, reason="moving house")),
            replace(ENDPOINT, state=EndpointState.PAUSED),
            "pending: held, because its endpoint is paused: moving house",
        ),
        (
            replace(DELIVERY, held=ActiveHold(Hold.BREAKER_OPEN, until=NOW + timedelta(seconds=30))),
            ENDPOINT,
            (
                "pending: held, because its endpoint's circuit breaker is open, until 2026-11-22 18:27:30 UTC"
                " (in 30 s)"
            ),
        ),
        (
            replace(DELIVERY, due_at=NOW + timedelta(minutes=4)),
            replace(ENDPOINT, state=EndpointState.PAUSED),
            "pending: due in 4 min, while its endpoint is paused",
        ),
        (DELIVERY, None, "pending: about to be cancelled, since its endpoint was deleted"),
        (
            replace(DELIVERY, status=DeliveryStatus.IN_FLIGHT),
            ENDPOINT,
            "in flight: a worker is sending it now",
        ),
        (
            replace(
                DELIVERY, status=DeliveryStatus.FAILED, due_at=None, finished_at=NOW - timedelta(hours=3)
            ),
            ENDPOINT,
            "failed 3 h ago",
        ),
    ],
)
def test_a_delivery_tells_where_it_stands(delivery: Delivery, endpoint: Endpoint | None, said: str) -> None:
    assert describe_status(delivery, endpoint, now=NOW) == said


def test_a_list_tells_in_few_words_what_comes_next() -> None:
    assert describe_next_step(replace(DELIVERY, due_at=NOW + timedelta(seconds=30)), now=NOW) == "due in 30 s"
    assert describe_next_step(replace(DELIVERY, status=DeliveryStatus.IN_FLIGHT), now=NOW) == "in flight"
    assert (
        describe_next_step(replace(DELIVERY, held=ActiveHold(Hold.RETRY_AFTER)), now=NOW)
        == "held: retry after"
    )
    assert describe_next_step(replace(DELIVERY, finished_at=NOW - timedelta(seconds=5)), now=NOW) == "5 s ago"
