"""What the engine counts of itself: verbs for those who do, and doors for those who watch.

A verb is called once for a group, not once for a row, wherever there are groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.metrics import catalogue, exposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from retries.breaker import BreakerState


def accepted(*, events: int, deliveries: int, seconds: float) -> None:
    """A group of events was accepted, in one transaction."""
    catalogue.accepted.inc(events)
    catalogue.owed.inc(deliveries)
    catalogue.commits.labels("accept").observe(events)
    catalogue.phases.labels("accept").observe(seconds)


def claimed(lane: str, deliveries: int) -> None:
    """A relay has claimed so many deliveries of a lane."""
    catalogue.claimed.labels(lane.lower()).inc(deliveries)


def published(lane: str, claims: int) -> None:
    """RabbitMQ has confirmed so many claims."""
    catalogue.published.labels(lane.lower()).inc(claims)


def took(phase: str, seconds: float) -> None:
    """A step of a group took so long."""
    catalogue.phases.labels(phase).observe(seconds)


def attempted(outcomes: Mapping[str, int], seconds: Iterable[float]) -> None:
    """Attempts were recorded: how many of each outcome, and how long each request took."""
    for outcome, count in outcomes.items():
        catalogue.attempts.labels(outcome).inc(count)
    sent = catalogue.phases.labels("send")
    for one in seconds:
        sent.observe(one)


def recorded(results: int, seconds: float) -> None:
    """So many results were recorded in one transaction."""
    catalogue.commits.labels("record").observe(results)
    catalogue.phases.labels("record").observe(seconds)


def ended(status: str, count: int = 1) -> None:
    """So many deliveries came to this end."""
    catalogue.ended.labels(status).inc(count)


def succeeded(seconds: Iterable[float]) -> None:
    """Live deliveries succeeded, each so long after it was accepted."""
    for one in seconds:
        catalogue.until_success.observe(max(0.0, one))


def replayed(result: str, count: int) -> None:
    """So many deliveries of replays ended like this."""
    catalogue.replayed.labels(result).inc(count)


def turned(breakers: Mapping[BreakerState, int]) -> None:
    """So many circuit breakers went into each of these states."""
    for state, count in breakers.items():
        catalogue.breakers.labels(str(state)).inc(count)


def rescued(deliveries: int) -> None:
    """So many deliveries were taken back from claims whose lease had lapsed."""
    catalogue.rescued.inc(deliveries)


def refused(messages: int) -> None:
    """So many messages over RabbitMQ were set aside."""
    catalogue.refused.inc(messages)


def in_flight(requests: int) -> None:
    """So many requests are on their way in this process."""
    catalogue.in_flight.set(requests)


def pool(*, used: int, idle: int) -> None:
    """So the pool of connections to PostgreSQL stands."""
    catalogue.pool.labels("used").set(used)
    catalogue.pool.labels("idle").set(idle)


def window(lane: str, *, waiting: int, limit: int) -> None:
    """So many deliveries stand in the queue, of as many as may."""
    catalogue.window.labels(lane.lower()).set(waiting)
    catalogue.window_limit.labels(lane.lower()).set(limit)


def looked(at: float) -> None:
    """A relay has gone once around; Unix time."""
    catalogue.looked.set(at)


def answers(part: str, *, well: bool) -> None:
    """Whether the database, or the broker, answered a relay when it was last asked."""
    catalogue.up.labels(part).set(well)
    exposition.show_relay()


def stands(
    *,
    oldest: Mapping[str, float],
    held: Mapping[str, int],
    partitions: int,
    expiry: Mapping[str, float],
) -> None:
    """How the ledger stands: seconds by lane, deliveries by hold, days, and Unix times."""
    for lane in catalogue.LANES:
        catalogue.oldest.labels(lane).set(oldest.get(lane, 0.0))
    for by in catalogue.HOLDS:
        catalogue.held.labels(by).set(held.get(by, 0))
    catalogue.partitions.set(partitions)
    for what in catalogue.EXPIRIES:
        catalogue.expiry.labels(what).set(expiry.get(what, 0.0))
