"""What the engine counts of itself: verbs for those who do, and doors for those who watch.

A verb is called once for a group, not once for a row, wherever there are groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.telemetry.metrics import instruments, prometheus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from retries.breaker import BreakerState


def count_accepted(*, events: int, deliveries: int, seconds: float) -> None:
    """A group of events was accepted, in one transaction."""
    instruments.events_accepted.inc(events)
    instruments.deliveries_owed.inc(deliveries)
    instruments.commit_rows.labels("accept").observe(events)
    instruments.phase_seconds.labels("accept").observe(seconds)


def count_claimed(priority: str, deliveries: int) -> None:
    """A relay has claimed so many deliveries of a lane."""
    instruments.deliveries_claimed.labels(priority.lower()).inc(deliveries)


def count_published(priority: str, claims: int) -> None:
    """RabbitMQ has confirmed so many claims."""
    instruments.claims_published.labels(priority.lower()).inc(claims)


def observe_phase(phase: str, seconds: float) -> None:
    """A step of a group took so long."""
    instruments.phase_seconds.labels(phase).observe(seconds)


def count_attempts(outcomes: Mapping[str, int], seconds: Iterable[float]) -> None:
    """Attempts were recorded: how many of each outcome, and how long each request took."""
    for outcome, count in outcomes.items():
        instruments.attempts_recorded.labels(outcome).inc(count)
    sent = instruments.phase_seconds.labels("send")
    for one in seconds:
        sent.observe(one)


def observe_recording(results: int, seconds: float) -> None:
    """So many results were recorded in one transaction."""
    instruments.commit_rows.labels("record").observe(results)
    instruments.phase_seconds.labels("record").observe(seconds)


def count_ended(status: str, count: int = 1) -> None:
    """So many deliveries came to this end."""
    instruments.deliveries_ended.labels(status).inc(count)


def observe_deliveries(seconds: Iterable[float]) -> None:
    """Live deliveries succeeded, each so long after it was accepted."""
    for one in seconds:
        instruments.delivery_seconds.observe(max(0.0, one))


def count_replayed(result: str, count: int) -> None:
    """So many deliveries of replays ended like this."""
    instruments.replay_items.labels(result).inc(count)


def count_breaker_transitions(breakers: Mapping[BreakerState, int]) -> None:
    """So many circuit breakers went into each of these states."""
    for state, count in breakers.items():
        instruments.breaker_transitions.labels(str(state)).inc(count)


def count_rescued(deliveries: int) -> None:
    """So many deliveries were taken back from claims whose lease had lapsed."""
    instruments.deliveries_rescued.inc(deliveries)


def count_refused_messages(messages: int) -> None:
    """So many messages over RabbitMQ were set aside."""
    instruments.messages_refused.inc(messages)


def set_requests_in_flight(requests: int) -> None:
    """So many requests are on their way in this process."""
    instruments.requests_in_flight.set(requests)


def set_pool_connections(*, used: int, idle: int) -> None:
    """So the pool of connections to PostgreSQL stands."""
    instruments.pool_connections.labels("used").set(used)
    instruments.pool_connections.labels("idle").set(idle)


def set_window(priority: str, *, waiting: int, limit: int) -> None:
    """So many deliveries stand in the queue, of as many as may."""
    instruments.window_deliveries.labels(priority.lower()).set(waiting)
    instruments.window_limit.labels(priority.lower()).set(limit)


def set_relay_looked(at: float) -> None:
    """A relay has gone once around; Unix time."""
    instruments.relay_looked_timestamp.set(at)


def set_dependency_up(dependency: str, *, is_up: bool) -> None:
    """Whether the database, or the broker, answered a relay when it was last asked."""
    instruments.dependency_up.labels(dependency).set(is_up)
    prometheus.enable_relay_metrics()


def set_ledger_gauges(
    *,
    oldest: Mapping[str, float],
    held: Mapping[str, int],
    partitions: int,
    expiry: Mapping[str, float],
) -> None:
    """How the ledger stands: seconds by lane, deliveries by hold, days, and Unix times."""
    for lane in instruments.PRIORITIES:
        instruments.oldest_due_seconds.labels(lane).set(oldest.get(lane, 0.0))
    for by in instruments.HOLDS:
        instruments.held_deliveries.labels(by).set(held.get(by, 0))
    instruments.partitions_ahead_days.set(partitions)
    for what in instruments.EXPIRIES:
        instruments.next_expiry_timestamp.labels(what).set(expiry.get(what, 0.0))
