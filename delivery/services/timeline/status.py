"""The status of a delivery in a sentence: why it is so, and what happens next. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import EndpointState
from delivery.services.sentences import (
    describe_reason,
    format_actor,
    format_count,
    format_state_reason,
)
from retries.breaker import BreakerState
from retries.health import Hold

if TYPE_CHECKING:
    from delivery.domain.delivery import ActiveHold
    from delivery.domain.holds import EndpointStatus
    from delivery.services.timeline.history import DeliveryHistory

_REPLAY_HINT = "It is not retried automatically, but it can be replayed."


def explain_status(history: DeliveryHistory) -> str:
    """Explain the present status of a delivery and what happens next."""
    match history.delivery.status:
        case DeliveryStatus.PENDING:
            return _explain_pending(history)
        case DeliveryStatus.IN_FLIGHT:
            return _explain_in_flight(history)
        case DeliveryStatus.SUCCEEDED:
            return f"Succeeded on attempt {history.delivery.attempts}{_format_finished_at(history)}."
        case DeliveryStatus.FAILED:
            return f"{_explain_failed(history)} {_REPLAY_HINT}"
        case DeliveryStatus.CANCELLED:
            return f"Cancelled{_format_finished_at(history)}: {_describe_delivery_reason(history)}"
        case _:
            assert_never(history.delivery.status)


def _explain_failed(history: DeliveryHistory) -> str:
    tried = history.delivery.attempts
    if history.delivery.reason == "expired":
        after = f" after {format_count(tried, 'attempt')}"
        return f"Expired{_format_finished_at(history)}{after}: it exceeded the maximum age of a delivery."
    return f"Failed on attempt {tried}{_format_finished_at(history)}: {_describe_delivery_reason(history)}"


def _format_finished_at(history: DeliveryHistory) -> str:
    finished_at = history.delivery.finished_at
    return "" if finished_at is None else f" at {format_utc(finished_at)}"


def _describe_delivery_reason(history: DeliveryHistory) -> str:
    return describe_reason(history.delivery.reason or "no reason was recorded")


def _explain_in_flight(history: DeliveryHistory) -> str:
    progress = history.progress
    if progress is None or progress.claimed_at is None:
        return "In flight: a worker is sending it."
    since = f"In flight since {format_utc(progress.claimed_at)}"
    if progress.worker is None:
        return f"{since}: it is in the queue and waits for a worker."
    return f"{since}: the worker {progress.worker} has it, for attempt {_format_next_attempt(history)}."


def _explain_pending(history: DeliveryHistory) -> str:
    delivery, endpoint = history.delivery, history.endpoint_status
    if endpoint is None:
        return "The endpoint was deleted, so the delivery is about to be cancelled."
    if delivery.held is not None:
        return f"Held: {_explain_hold(delivery.held, endpoint)}"
    if delivery.due_at is None or delivery.due_at <= history.now:
        since = "" if delivery.due_at is None else f" since {format_utc(delivery.due_at)}"
        return f"Due{since} for attempt {_format_next_attempt(history)}: it waits for its turn."
    waits = f"Waits for attempt {_format_next_attempt(history)}, due at {format_utc(delivery.due_at)}."
    if endpoint.state is EndpointState.ACTIVE:
        return waits
    return f"{waits} Even then it is held while the endpoint is {endpoint.state}."


def _format_next_attempt(history: DeliveryHistory) -> str:
    """Write `3 of 8`: the next attempt, of those made and those that the schedule has left."""
    number = history.delivery.attempts + 1
    burned = history.delivery.attempts if history.progress is None else history.progress.step
    return f"{number} of {max(number, history.delivery.attempts + history.max_attempts - burned)}"


def _explain_hold(held: ActiveHold, status: EndpointStatus) -> str:
    match held.by:
        case Hold.PAUSED:
            return f"{_describe_state(held, status)} It is sent when the endpoint is resumed."
        case Hold.DISABLED:
            return f"{_describe_state(held, status)} It is sent when the endpoint is enabled."
        case Hold.BREAKER_OPEN:
            probe = _describe_probe(held, status)
            return f"the endpoint's circuit breaker has been open{_format_since(held)}; {probe}"
        case Hold.RETRY_AFTER:
            return f"the endpoint asked to wait{_format_until(held)}; it is sent then."
        case Hold.RATE_LIMIT:
            rate = _format_rate(status)
            return f"the endpoint's rate limit{rate} allows the next delivery{_format_then(held)}."
        case Hold.IN_FLIGHT_LIMIT:
            count = _count_deliveries(status.in_flight)
            return f"the endpoint has {count} in flight, its current limit; the next is sent when one ends."
        case _:
            assert_never(held.by)


def _describe_state(held: ActiveHold, status: EndpointStatus) -> str:
    by = f" by {format_actor(status.state_actor)}" if status.state_actor else ""
    state = f"the endpoint has been {status.state}{_format_since(held)}{by}{format_state_reason(held.reason)}"
    return state if state.endswith(".") else f"{state}."


def _describe_probe(held: ActiveHold, status: EndpointStatus) -> str:
    if held.until is not None:
        return f"the next probe is sent at {format_utc(held.until)}."
    if status.health is not None and status.health.breaker.state is BreakerState.HALF_OPEN:
        return "a probe is in flight, and if it succeeds the others follow."
    return "a probe is sent now, and if it succeeds the others follow."


def _format_rate(status: EndpointStatus) -> str:
    rate = status.rate
    return "" if rate is None else f" of {rate.limit:,} in {format_duration(rate.per)}"


def _format_since(held: ActiveHold) -> str:
    return "" if held.since is None else f" since {format_utc(held.since)}"


def _format_until(held: ActiveHold) -> str:
    return "" if held.until is None else f" until {format_utc(held.until)}"


def _format_then(held: ActiveHold) -> str:
    return " in a moment" if held.until is None else f" at {format_utc(held.until)}"


def _count_deliveries(count: int) -> str:
    return f"{count:,} deliver{'y' if count == 1 else 'ies'}"
