"""The engine's metrics: one function for each thing that is counted or measured.

Callers that work in groups call a function once per group, not once per row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.telemetry.metrics import instruments, prometheus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from retries.breaker import BreakerState


def count_accepted(*, events: int, deliveries: int, seconds: float) -> None:
    """Count a group of events accepted in one transaction."""
    instruments.events_accepted.inc(events)
    instruments.deliveries_owed.inc(deliveries)
    instruments.commit_rows.labels("accept").observe(events)
    instruments.phase_seconds.labels("accept").observe(seconds)


def count_claimed(priority: str, deliveries: int) -> None:
    """Count deliveries that a relay has claimed."""
    instruments.deliveries_claimed.labels(priority.lower()).inc(deliveries)


def count_published(priority: str, claims: int) -> None:
    """Count claims that RabbitMQ has confirmed."""
    instruments.claims_published.labels(priority.lower()).inc(claims)


def observe_phase(phase: str, seconds: float) -> None:
    """Record how long one step of a group took."""
    instruments.phase_seconds.labels(phase).observe(seconds)


def count_attempts(outcomes: Mapping[str, int], seconds: Iterable[float]) -> None:
    """Count recorded attempts by outcome, and record the duration of each request."""
    for outcome, count in outcomes.items():
        instruments.attempts_recorded.labels(outcome).inc(count)
    sent = instruments.phase_seconds.labels("send")
    for duration in seconds:
        sent.observe(duration)


def observe_recording(results: int, seconds: float) -> None:
    """Count results recorded in one transaction."""
    instruments.commit_rows.labels("record").observe(results)
    instruments.phase_seconds.labels("record").observe(seconds)


def count_ended(status: str, count: int = 1) -> None:
    """Count deliveries that ended with this status."""
    instruments.deliveries_ended.labels(status).inc(count)


def observe_deliveries(seconds: Iterable[float]) -> None:
    """Record the time from acceptance to success of live deliveries."""
    for duration in seconds:
        instruments.delivery_seconds.observe(max(0.0, duration))


def count_replayed(result: str, count: int) -> None:
    """Count deliveries of replays that ended with this result."""
    instruments.replay_items.labels(result).inc(count)


def count_breaker_transitions(breakers: Mapping[BreakerState, int]) -> None:
    """Count circuit breakers that changed to each state."""
    for state, count in breakers.items():
        instruments.breaker_transitions.labels(str(state)).inc(count)


def count_rescued(deliveries: int) -> None:
    """Count deliveries rescued from claims with an expired lease."""
    instruments.deliveries_rescued.inc(deliveries)


def count_refused_messages(messages: int) -> None:
    """Count messages from RabbitMQ that became dead letters."""
    instruments.messages_refused.inc(messages)


def set_requests_in_flight(requests: int) -> None:
    """Set how many requests this process has in flight."""
    instruments.requests_in_flight.set(requests)


def set_pool_connections(*, used: int, idle: int) -> None:
    """Set how many connections of the PostgreSQL pool are used and idle."""
    instruments.pool_connections.labels("used").set(used)
    instruments.pool_connections.labels("idle").set(idle)


def set_window(priority: str, *, waiting: int, limit: int) -> None:
    """Set how many deliveries wait in the queue, and the limit."""
    instruments.window_deliveries.labels(priority.lower()).set(waiting)
    instruments.window_limit.labels(priority.lower()).set(limit)


def set_relay_looked(at: float) -> None:
    """Set when the relay last completed a round; Unix time."""
    instruments.relay_looked_timestamp.set(at)


def set_dependency_up(dependency: str, *, is_up: bool) -> None:
    """Set whether the database or the broker answered the relay's last request."""
    instruments.dependency_up.labels(dependency).set(is_up)
    prometheus.enable_relay_metrics()


def set_ledger_gauges(
    *,
    oldest: Mapping[str, float],
    held: Mapping[str, int],
    partitions: int,
    expiry: Mapping[str, float],
) -> None:
    """Set the ledger's gauges: seconds by priority, deliveries by hold, days, and Unix times."""
    for lane in instruments.PRIORITIES:
        instruments.oldest_due_seconds.labels(lane).set(oldest.get(lane, 0.0))
    for by in instruments.HOLDS:
        instruments.held_deliveries.labels(by).set(held.get(by, 0))
    instruments.partitions_ahead_days.set(partitions)
    for what in instruments.EXPIRIES:
        instruments.next_expiry_timestamp.labels(what).set(expiry.get(what, 0.0))
