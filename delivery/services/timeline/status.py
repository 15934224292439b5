"""Where a delivery stands, why, and what happens next, in plain words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from delivery.model import DeliveryStatus, EndpointState
from delivery.moments import exact, length
from delivery.tracing.sentences import counted, state_reason, who, why
from retries.breaker import BreakerState
from retries.health import Hold

if TYPE_CHECKING:
    from delivery.holding import Situation
    from delivery.model import Held
    from delivery.tracing.story import Story

_ASK_AGAIN = "Nothing more happens by itself; it can be replayed."


def standing(story: Story) -> str:
    """Say why a delivery is where it is now, and what happens next."""
    match story.delivery.status:
        case DeliveryStatus.PENDING:
            return _pending(story)
        case DeliveryStatus.IN_FLIGHT:
            return _in_flight(story)
        case DeliveryStatus.SUCCEEDED:
            return f"Succeeded on attempt {story.delivery.attempts}{_at(story)}."
        case DeliveryStatus.FAILED:
            return f"{_failed(story)} {_ASK_AGAIN}"
        case DeliveryStatus.CANCELLED:
            return f"Cancelled{_at(story)}: {_reason(story)}"
        case _:
            assert_never(story.delivery.status)


def _failed(story: Story) -> str:
    tried = story.delivery.attempts
    if story.delivery.reason == "expired":
        after = f" after {counted(tried, 'attempt')}"
        return f"Expired{_at(story)}{after}: it was owed for longer than a delivery may be."
    return f"Failed on attempt {tried}{_at(story)}: {_reason(story)}"


def _at(story: Story) -> str:
    finished_at = story.delivery.finished_at
    return "" if finished_at is None else f" at {exact(finished_at)}"


def _reason(story: Story) -> str:
    return why(story.delivery.reason or "nobody wrote down why")


def _in_flight(story: Story) -> str:
    progress = story.progress
    if progress is None or progress.claimed_at is None:
        return "In flight: a worker has it just now."
    since = f"In flight since {exact(progress.claimed_at)}"
    if progress.worker is None:
        return f"{since}: it is in the queue, and a worker takes it up in a moment."
    return f"{since}: the worker {progress.worker} has it, for attempt {_next(story)}."


def _pending(story: Story) -> str:
    delivery, situation = story.delivery, story.situation
    if situation is None:
        return "The endpoint was deleted, so the delivery is about to be cancelled."
    if delivery.held is not None:
        return f"Held: {_held(delivery.held, situation)}"
    if delivery.due_at is None or delivery.due_at <= story.now:
        since = "" if delivery.due_at is None else f" since {exact(delivery.due_at)}"
        return f"Due{since} for attempt {_next(story)}: it goes out when it is its turn."
    waits = f"Waits for attempt {_next(story)}, due at {exact(delivery.due_at)}."
    if situation.state is EndpointState.ACTIVE:
        return waits
    return f"{waits} Even then it is held while the endpoint is {situation.state}."


def _next(story: Story) -> str:
    """Which attempt comes next, of how many at most: those that were made and what its schedule has left."""
    number = story.delivery.attempts + 1
    burned = story.delivery.attempts if story.progress is None else story.progress.step
    return f"{number} of {max(number, story.delivery.attempts + story.most - burned)}"


def _held(held: Held, situation: Situation) -> str:
    match held.by:
        case Hold.PAUSED:
            return f"{_state(held, situation)} It goes out when the endpoint is resumed."
        case Hold.DISABLED:
            return f"{_state(held, situation)} It goes out when the endpoint is enabled."
        case Hold.BREAKER_OPEN:
            return f"the endpoint's circuit breaker has been open{_since(held)}; {_probe(held, situation)}"
        case Hold.RETRY_AFTER:
            return f"the endpoint asked to be left alone{_until(held)}; it goes out then."
        case Hold.RATE_LIMIT:
            return f"the endpoint's rate limit{_rate(situation)} lets the next delivery go{_then(held)}."
        case Hold.IN_FLIGHT_LIMIT:
            count = _deliveries(situation.in_flight)
            return f"the endpoint has {count} in flight, as many as it may have now; one goes as one ends."
        case _:
            assert_never(held.by)


def _state(held: Held, situation: Situation) -> str:
    by = f" by {who(situation.state_actor)}" if situation.state_actor else ""
    state = f"the endpoint has been {situation.state}{_since(held)}{by}{state_reason(held.reason)}"
    return state if state.endswith(".") else f"{state}."


def _probe(held: Held, situation: Situation) -> str:
    if held.until is not None:
        return f"the next probe goes out at {exact(held.until)}."
    if situation.health is not None and situation.health.breaker.state is BreakerState.HALF_OPEN:
        return "a probe is on its way, and if it succeeds the others follow."
    return "a probe goes out now, and if it succeeds the others follow."


def _rate(situation: Situation) -> str:
    rate = situation.rate
    return "" if rate is None else f" of {rate.limit:,} in {length(rate.per)}"


def _since(held: Held) -> str:
    return "" if held.since is None else f" since {exact(held.since)}"


def _until(held: Held) -> str:
    return "" if held.until is None else f" until {exact(held.until)}"


def _then(held: Held) -> str:
    return " in a moment" if held.until is None else f" at {exact(held.until)}"


def _deliveries(count: int) -> str:
    return f"{count:,} deliver{'y' if count == 1 else 'ies'}"
