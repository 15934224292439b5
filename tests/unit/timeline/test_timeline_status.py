"""The status of a delivery in one sentence, and what happens next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import find_hold
from delivery.ledger.records.deliveries import DeliveryProgress
from delivery.services.sentences import describe_hold, describe_reason
from delivery.services.timeline import status
from retries.breaker import BreakerState
from retries.health import Hold
from retries.policy import Reason
from retries.rate import RateLimit
from tests.unit.timeline.stories import MADE, NOW, SITUATION, STORY, after

if TYPE_CHECKING:
    from delivery.domain.holds import EndpointStatus
    from delivery.services.timeline.history import DeliveryHistory

SOON = NOW + timedelta(minutes=5)
HEALTH = SITUATION.health
assert HEALTH is not None
OPEN = replace(HEALTH.breaker, state=BreakerState.OPEN, probe_at=SOON)


def explain(story: DeliveryHistory) -> str:
    """The sentence without dates, since all times are on one day."""
    return status.explain_status(story).replace("2026-11-22 ", "").replace(" UTC", "")


def ended(status: DeliveryStatus, reason: str, *, attempts: int = 3) -> str:
    delivery = replace(
        STORY.delivery, status=status, reason=reason, attempts=attempts, finished_at=after(60), due_at=None
    )
    return explain(replace(STORY, delivery=delivery, progress=None))


def held(situation: EndpointStatus) -> str:
    delivery = replace(STORY.delivery, held=find_hold(situation, default_in_flight=50))
    return explain(replace(STORY, delivery=delivery, endpoint_status=situation))


def waiting(*, attempts: int, step: int) -> str:
    """The sentence of a delivery that waits after these attempts and schedule steps."""
    delivery = replace(STORY.delivery, attempts=attempts, due_at=SOON)
    return explain(replace(STORY, delivery=delivery, progress=DeliveryProgress(step, None, None, None)))


AGAIN = "It is not retried automatically, but it can be replayed."
SPENT = "The last attempt of the schedule failed, so there will be no other."


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ended(DeliveryStatus.SUCCEEDED, "delivered"), "Succeeded on attempt 3 at 18:01:00."),
        (
            ended(DeliveryStatus.FAILED, "schedule_spent"),
            f"Failed on attempt 3 at 18:01:00: {SPENT} {AGAIN}",
        ),
        (
            ended(DeliveryStatus.FAILED, "expired", attempts=1),
            f"Expired at 18:01:00 after 1 attempt: it exceeded the maximum age of a delivery. {AGAIN}",
        ),
        (
            ended(DeliveryStatus.CANCELLED, "endpoint_deleted"),
            "Cancelled at 18:01:00: Its endpoint was deleted.",
        ),
    ],
)
def test_a_final_delivery_shows_its_result_and_time(message: str, expected: str):
    assert message == expected


def test_a_waiting_delivery_shows_its_next_attempt_and_due_time():
    assert waiting(attempts=3, step=3) == "Waits for attempt 4 of 10, due at 18:35:00."


def test_attempts_outside_the_schedule_and_earlier_runs_are_counted():
    assert "attempt 4 of 11," in waiting(attempts=3, step=2)
    assert "attempt 11 of 20," in waiting(attempts=10, step=0)


def test_a_shortened_schedule_still_allows_this_attempt():
    assert "attempt 13 of 13," in waiting(attempts=12, step=12)


def test_a_waiting_delivery_says_that_its_endpoint_is_paused():
    paused = replace(SITUATION, state=EndpointState.PAUSED)
    story = replace(STORY, endpoint_status=paused, delivery=replace(STORY.delivery, due_at=SOON))
    assert explain(story).endswith(" Even then it is held while the endpoint is paused.")


def test_a_due_delivery_waits_for_its_turn():
    assert explain(STORY) == ("Due since 18:00:00 for attempt 1 of 10: it waits for its turn.")


def test_a_delivery_of_a_deleted_endpoint_is_about_to_be_cancelled():
    assert explain(replace(STORY, endpoint_status=None)) == (
        "The endpoint was deleted, so the delivery is about to be cancelled."
    )


def test_a_delivery_in_flight_shows_its_start_and_worker():
    flying = replace(STORY, delivery=replace(STORY.delivery, status=DeliveryStatus.IN_FLIGHT))
    queued = replace(flying, progress=DeliveryProgress(0, after(1), None, None))
    taken = replace(flying, progress=DeliveryProgress(0, after(1), after(2), "host:1"))
    assert explain(queued).startswith("In flight since 18:00:01: it is in the queue")
    assert explain(taken).endswith(": the worker host:1 has it, for attempt 1 of 10.")
    assert explain(replace(flying, progress=None)).startswith("In flight:")


@pytest.mark.parametrize(
    ("situation", "why_now", "what_next"),
    [
        (
            replace(
                SITUATION,
                state=EndpointState.PAUSED,
                state_changed_at=MADE,
                state_actor="cli:bob",
                state_reason="moving house",
            ),
            "the endpoint has been paused since 18:00:00 by cli:bob: moving house.",
            "It is sent when the endpoint is resumed.",
        ),
        (
            replace(
                SITUATION,
                state=EndpointState.DISABLED,
                state_changed_at=MADE,
                state_actor="waybill",
                state_reason="failing",
            ),
            (
                "the endpoint has been disabled since 18:00:00 by Waybill: "
                "it failed for too long without a success."
            ),
            "It is sent when the endpoint is enabled.",
        ),
        (
            replace(SITUATION, health=replace(HEALTH, breaker=OPEN)),
            "the endpoint's circuit breaker has been open since 18:00:00;",
            "the next probe is sent at 18:35:00.",
        ),
        (
            replace(SITUATION, health=replace(HEALTH, breaker=replace(OPEN, state=BreakerState.HALF_OPEN))),
            "the endpoint's circuit breaker has been open since 18:00:00;",
            "a probe is in flight, and if it succeeds the others follow.",
        ),
        (
            replace(SITUATION, health=replace(HEALTH, breaker=replace(OPEN, probe_at=MADE))),
            "the endpoint's circuit breaker has been open since 18:00:00;",
            "a probe is sent now, and if it succeeds the others follow.",
        ),
        (
            replace(SITUATION, health=replace(HEALTH, waits_until=SOON)),
            "the endpoint asked to wait until 18:35:00;",
            "it is sent then.",
        ),
        (
            replace(SITUATION, rate=RateLimit(1, timedelta(minutes=10)), next_at=SOON),
            "the endpoint's rate limit of 1 in 10 min",
            "allows the next delivery at 18:35:00.",
        ),
        (
            replace(SITUATION, in_flight=10),
            "the endpoint has 10 deliveries in flight, its current limit;",
            "the next is sent when one ends.",
        ),
    ],
)
def test_a_held_delivery_shows_its_hold_start_and_end(
    situation: EndpointStatus, why_now: str, what_next: str
):
    assert held(situation) == f"Held: {why_now} {what_next}"


@pytest.mark.parametrize("hold", Hold)
def test_every_hold_has_a_description(hold: Hold):
    assert describe_hold(hold).startswith("its endpoint")


@pytest.mark.parametrize("reason", [*Reason, "expired", "endpoint_deleted", "asked for again by cli:ada"])
def test_every_reason_is_a_sentence(reason: str):
    assert describe_reason(reason)[0].isupper()
    assert describe_reason(reason).endswith(".")
    assert " " in describe_reason(reason)
