"""The health of an endpoint: how attempts change it, and how many deliveries may be sent now. Pure.

Health is a breaker, an in-flight limit, the time until which the endpoint asked us to wait, and how long it
has only failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never

from retries import breaker as breakers
from retries import limit as limits
from retries.breaker import Breaker, BreakerConfig, BreakerState
from retries.limit import InFlightLimit
from retries.rate import count_permitted

if TYPE_CHECKING:
    from datetime import datetime

    from retries.rate import RateLimit


class Signal(StrEnum):
    """What an attempt implies for its endpoint's health."""

    GOOD = "good"
    SLOW = "slow"
    ALIVE = "alive"
    BAD = "bad"
    CONGESTED = "congested"
    NONE = "none"


# Warnings are due at these percentages of the time after which an endpoint that only fails is disabled.
WARNING_PERCENTS: Final = (50, 90)
# Longer than the longest delay of the default schedule, so that an endpoint that fails at each of its steps
# counts as failing all the time.
MIN_FAILURE_GAP: Final = timedelta(days=2)
MIN_WAIT_CHANGE: Final = timedelta(seconds=1)
_SUCCESS_SIGNALS: Final = frozenset({Signal.GOOD, Signal.SLOW})
_HEALTHY_SIGNALS: Final = frozenset({Signal.GOOD, Signal.ALIVE})
# A slow success counts against a closed breaker, and closes an open one.
_BAD_SIGNALS: Final = frozenset({Signal.BAD, Signal.CONGESTED, Signal.SLOW})
_BAD_PROBE_SIGNALS: Final = frozenset({Signal.BAD, Signal.CONGESTED})


class Hold(StrEnum):
    """Why due deliveries of an endpoint are not sent."""

    PAUSED = "paused"
    DISABLED = "disabled"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    RATE_LIMIT = "rate_limit"
    IN_FLIGHT_LIMIT = "in_flight_limit"


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """How an endpoint's health is judged; `max_in_flight` bounds its deliveries in flight."""

    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    max_in_flight: int = 50
    disable_after: timedelta = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one endpoint.

    `failed` counts the failures since `failing_since`; a success resets both. `warned` is the percentage of
    the last warning.
    """

    breaker: Breaker
    limit: InFlightLimit
    waits_until: datetime | None = None
    failing_since: datetime | None = None
    failed: int = 0
    warned: int = 0
    last_failed_at: datetime | None = None
    last_succeeded_at: datetime | None = None

    @classmethod
    def fresh(cls, now: datetime, *, max_in_flight: int) -> Health:
        """Create the health of a new endpoint."""
        return cls(Breaker.fresh(now), InFlightLimit.start(max_in_flight))

    def reset_after_enabling(self, now: datetime) -> Health:
        """Return the health after a user has enabled the endpoint: no failures, and a ramp-up from one."""
        return Health(
            Breaker.fresh(now),
            InFlightLimit.start_ramp(),
            last_failed_at=self.last_failed_at,
            last_succeeded_at=self.last_succeeded_at,
        )


@dataclass(frozen=True, slots=True)
class HealthSample:
    """What one attempt says about its endpoint; `requested_wait` is the time it asked us to wait."""

    signal: Signal
    started_at: datetime
    ended_at: datetime
    requested_wait: timedelta | None = None
    is_probe: bool = False


# The changes of health that are published: a closed set.
@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """The breaker opened; `is_reopened`: it was open already, and its probe failed."""

    probe_at: datetime
    is_reopened: bool


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """The breaker closed; it had been open since `opened_at`."""

    opened_at: datetime


@dataclass(frozen=True, slots=True)
class WaitRequested:
    """The endpoint asked us to wait, for longer than we already do."""

    until: datetime


@dataclass(frozen=True, slots=True)
class DisableWarning:
    """This percentage of the time after which a failing endpoint is disabled has passed."""

    percent: int
    failing_since: datetime
    disabled_at: datetime


@dataclass(frozen=True, slots=True)
class FailedTooLong:
    """The endpoint has only failed for so long that it must be disabled."""

    failing_since: datetime


HealthChange = BreakerOpened | BreakerClosed | WaitRequested | DisableWarning | FailedTooLong


def update_health(
    health: Health, sample: HealthSample, *, config: HealthConfig, jitter: float
) -> tuple[Health, list[HealthChange]]:
    """Count one attempt in an endpoint's health; returns the new health and the changes to report.

    `jitter` is a random number in [-1, 1].
    """
    if sample.signal is Signal.NONE:
        if not sample.is_probe or health.breaker.state is not BreakerState.HALF_OPEN:
            return health, []
        return replace(health, breaker=breakers.discard_probe(health.breaker, now=sample.ended_at)), []
    changes: list[HealthChange] = []
    health = _update_breaker(health, sample, config, jitter, changes)
    health = _apply_wait(health, sample, changes)
    if sample.signal in _SUCCESS_SIGNALS:
        healthy = replace(health, failing_since=None, failed=0, warned=0, last_succeeded_at=sample.ended_at)
        return healthy, changes
    return _apply_failure(health, sample, config, changes), changes


def _update_breaker(
    health: Health, sample: HealthSample, config: HealthConfig, jitter: float, changes: list[HealthChange]
) -> Health:
    before = health.breaker
    if before.state is BreakerState.CLOSED:
        # An attempt that began before the breaker closed belongs to a trouble that is over.
        if sample.started_at < before.since:
            return health
        after, limit = _count_attempt(health, sample, config, jitter)
    elif sample.is_probe:
        is_bad = sample.signal in _BAD_PROBE_SIGNALS
        after = breakers.finish_probe(
            before, is_bad=is_bad, now=sample.ended_at, config=config.breaker, jitter=jitter
        )
        limit = InFlightLimit.start_ramp()
    else:
        return health
    if after.probe_at is not None and after.probe_at != before.probe_at:
        changes.append(BreakerOpened(after.probe_at, is_reopened=before.state is not BreakerState.CLOSED))
    if before.state is not BreakerState.CLOSED and after.state is BreakerState.CLOSED:
        changes.append(BreakerClosed(before.since))
    return replace(health, breaker=after, limit=limit)


def _count_attempt(
    health: Health, sample: HealthSample, config: HealthConfig, jitter: float
) -> tuple[Breaker, InFlightLimit]:
    is_bad = sample.signal in _BAD_SIGNALS
    breaker = breakers.record_attempt(
        health.breaker, is_bad=is_bad, now=sample.ended_at, config=config.breaker, jitter=jitter
    )
    limit = _adjust_limit(health.limit, sample, config.max_in_flight)
    if breaker.openings and sample.signal in _HEALTHY_SIGNALS and limit.now >= config.max_in_flight:
        breaker = breakers.reset_openings(breaker)
    return breaker, limit


def _adjust_limit(limit: InFlightLimit, sample: HealthSample, max_in_flight: int) -> InFlightLimit:
    match sample.signal:
        case Signal.GOOD | Signal.ALIVE:
            return limits.raise_limit(limit, max_in_flight=max_in_flight)
        case Signal.BAD if not limit.ramping:
            return limit
        case Signal.BAD | Signal.SLOW | Signal.CONGESTED:
            return limits.lower_limit(limit, started_at=sample.started_at, now=sample.ended_at)
        case Signal.NONE:
            return limit
        case _:
            assert_never(sample.signal)


def _apply_wait(health: Health, sample: HealthSample, changes: list[HealthChange]) -> Health:
    if not sample.requested_wait:
        return health
    until = sample.ended_at + sample.requested_wait
    current = health.waits_until
    if current is not None and current >= until:
        return health
    # Attempts that were in flight together all ask for nearly the same wait, which is reported once.
    if current is None or current <= sample.ended_at or until - current > MIN_WAIT_CHANGE:
        changes.append(WaitRequested(until))
    return replace(health, waits_until=until)


def _apply_failure(
    health: Health, sample: HealthSample, config: HealthConfig, changes: list[HealthChange]
) -> Health:
    last, since = health.last_failed_at, health.failing_since
    # After such a long silence the earlier failures belong to another trouble.
    if since is None or (
        last is not None and sample.ended_at - last > max(config.disable_after, MIN_FAILURE_GAP)
    ):
        return replace(
            health, failing_since=sample.ended_at, failed=1, warned=0, last_failed_at=sample.ended_at
        )
    health = replace(health, failed=health.failed + 1, last_failed_at=sample.ended_at)
    passed = (sample.ended_at - since) / config.disable_after
    if passed >= 1 and health.failed >= config.breaker.consecutive:
        changes.append(FailedTooLong(since))
        return health
    reached = max((percent for percent in WARNING_PERCENTS if passed * 100 >= percent), default=0)
    if reached > health.warned:
        changes.append(DisableWarning(reached, since, since + config.disable_after))
        return replace(health, warned=reached)
    return health


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many deliveries of an endpoint may be claimed now, and what holds the others.

    `check_again_at` is when to look again; None: when one of its attempts has ended. With a rate limit, the
    claimed deliveries count from `counts_from` on.
    """

    count: int
    hold: Hold | None = None
    check_again_at: datetime | None = None
    is_probe: bool = False
    counts_from: datetime | None = None


def compute_allowance(
    health: Health,
    *,
    in_flight: int,
    max_in_flight: int,
    rate: RateLimit | None,
    next_at: datetime | None,
    now: datetime,
) -> Allowance:
    """Compute what an active endpoint may be sent now, in addition to the deliveries in flight.

    `max_in_flight` is the endpoint's own limit, `next_at` when its rate limit permits the next delivery.
    """
    if (hold := _find_hold(health, now)) is not None:
        return hold
    is_probe = health.breaker.state is BreakerState.OPEN
    free = (max_in_flight if is_probe else min(max_in_flight, health.limit.now)) - in_flight
    if free <= 0:
        return Allowance(0, Hold.IN_FLIGHT_LIMIT)
    allowed = (
        Allowance(1, Hold.BREAKER_OPEN, is_probe=True) if is_probe else Allowance(free, Hold.IN_FLIGHT_LIMIT)
    )
    return allowed if rate is None else _apply_rate_limit(allowed, rate, next_at, now)


def _find_hold(health: Health, now: datetime) -> Allowance | None:
    breaker = health.breaker
    if breaker.state is BreakerState.HALF_OPEN:
        return Allowance(0, Hold.BREAKER_OPEN)
    if breaker.probe_at is not None and breaker.probe_at > now:
        return Allowance(0, Hold.BREAKER_OPEN, breaker.probe_at)
    if health.waits_until is not None and health.waits_until > now:
        return Allowance(0, Hold.RETRY_AFTER, health.waits_until)
    return None


def _apply_rate_limit(
    allowed: Allowance, rate: RateLimit, next_at: datetime | None, now: datetime
) -> Allowance:
    count, counts_from = count_permitted(rate, next_at, now=now)
    if count >= allowed.count:
        return replace(allowed, counts_from=counts_from)
    until = counts_from + count * rate.interval
    return Allowance(count, Hold.RATE_LIMIT, until, allowed.is_probe and count > 0, counts_from)
