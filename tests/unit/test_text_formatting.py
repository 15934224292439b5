from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.model import Delivery, DeliveryStatus, Endpoint, EndpointState, Held
from delivery.wording import delays, exact, length, next_step, short, standing, when, why
from retries import Hold, Reason
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
    assert length(duration) == said


def test_a_moment_is_told_by_its_distance_on_both_sides_of_now() -> None:
    assert when(NOW - timedelta(seconds=12), now=NOW) == "12 s ago"
    assert when(NOW + timedelta(minutes=4), now=NOW) == "in 4 min"
    assert when(NOW + timedelta(milliseconds=20), now=NOW) == "now"


def test_exact_moments_are_in_utc_whatever_their_zone() -> None:
    elsewhere = NOW.astimezone(tz=None)
    assert exact(elsewhere) == "2026-11-22 18:27:00 UTC"
    assert short(elsewhere) == "11-22 18:27:00"


def test_a_schedule_begins_at_once() -> None:
    assert delays([timedelta(0), timedelta(seconds=5), timedelta(hours=2)]) == "at once, 5 s, 2 h"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_policy_is_a_sentence(reason: Reason) -> None:
    assert why(reason).endswith(".")
    assert " " in why(reason)


def test_what_a_person_asked_for_is_told_as_it_was_written() -> None:
    assert why("asked for again by cli:ada") == "Asked for again by cli:ada."
    assert why("endpoint_deleted").startswith("Its endpoint was deleted")


@pytest.mark.parametrize(
    ("delivery", "endpoint", "said"),
    [
        (DELIVERY, ENDPOINT, "pending: due now"),
        (replace(DELIVERY, due_at=NOW + timedelta(minutes=4)), ENDPOINT, "pending: due in 4 min"),
        (
            replace(DELIVERY, held=Held(Hold.PAUSED, reason="moving house")),
            replace(ENDPOINT, state=EndpointState.PAUSED),
            "pending: held, because its endpoint is paused: moving house",
        ),
        (
            replace(DELIVERY, held=Held(Hold.BREAKER_OPEN, until=NOW + timedelta(seconds=30))),
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
            "in flight: a worker has it just now",
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
    assert standing(delivery, endpoint, now=NOW) == said


def test_a_list_tells_in_few_words_what_comes_next() -> None:
    assert next_step(replace(DELIVERY, due_at=NOW + timedelta(seconds=30)), now=NOW) == "due in 30 s"
    assert next_step(replace(DELIVERY, status=DeliveryStatus.IN_FLIGHT), now=NOW) == "in flight"
    assert next_step(replace(DELIVERY, held=Held(Hold.RETRY_AFTER)), now=NOW) == "held: retry after"
    assert next_step(replace(DELIVERY, finished_at=NOW - timedelta(seconds=5)), now=NOW) == "5 s ago"
