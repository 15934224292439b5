"""What is known of an endpoint's health, what an attempt changes of it, and what may be sent now. Pure.

Health is a breaker, an in-flight limit, a moment until which the endpoint asked us to wait, and for how long
it has only failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never

from retries import breaker as breakers
from retries import limit as limits
from retries.breaker import Breaker, BreakerState, BreakerTerms
from retries.limit import InFlightLimit
from retries.policy import Signal
from retries.rate import room

if TYPE_CHECKING:
    from datetime import datetime

    from retries.rate import RateLimit

# Warned at these shares of the time after which an endpoint that only fails is disabled.
WARNINGS: Final = (50, 90)
# Longer than the longest pause of the default schedule: who fails on each of its steps has only failed.
SILENCE: Final = timedelta(days=2)
NO_NEWS: Final = timedelta(seconds=1)
_SUCCEEDED: Final = frozenset({Signal.GOOD, Signal.SLOW})
_IN_ORDER: Final = frozenset({Signal.GOOD, Signal.ALIVE})
# A slow success counts against a closed breaker, and closes an open one.
_BAD: Final = frozenset({Signal.BAD, Signal.CONGESTED, Signal.SLOW})
_BAD_PROBE: Final = frozenset({Signal.BAD, Signal.CONGESTED})


class Hold(StrEnum):
    """Why nothing of an endpoint's is sent though it is due."""

    PAUSED = "paused"
    DISABLED = "disabled"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    RATE_LIMIT = "rate_limit"
    IN_FLIGHT_LIMIT = "in_flight_limit"


@dataclass(frozen=True, slots=True)
class HealthTerms:
    """By what an endpoint is judged; `in_flight` is the most it may have in flight."""

    breaker: BreakerTerms = field(default_factory=BreakerTerms)
    in_flight: int = 50
    disable_after: timedelta = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of an endpoint.

    `failed` counts what failed since `failing_since`; a success ends both.
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
    def fresh(cls, now: datetime, *, most: int) -> Health:
        """The health of a new endpoint."""
        return cls(Breaker.fresh(now), InFlightLimit.first(most))

    def returned(self, now: datetime) -> Health:
        """The health after a person has let the endpoint go on: all is forgiven, and it ramps up."""
        return Health(
            Breaker.fresh(now),
            InFlightLimit.ramp(),
            last_failed_at=self.last_failed_at,
            last_succeeded_at=self.last_succeeded_at,
        )


@dataclass(frozen=True, slots=True)
class Sign:
    """What one attempt, from `started_at` to `at`, tells of its endpoint; `wait` is what it asked of us."""

    signal: Signal
    started_at: datetime
    at: datetime
    wait: timedelta | None = None
    probe: bool = False


# What follows from a sign for others to hear: a closed set.
@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """The breaker opened; `again`: it was open, and its probe failed."""

    probe_at: datetime
    again: bool


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """The breaker closed after it had been open since then."""

    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """The endpoint asked us to wait, and we did not wait for it yet, or not for so long."""

    until: datetime


@dataclass(frozen=True, slots=True)
class DisableWarning:
    """So many percent of the time after which the endpoint is disabled are over."""

    percent: int
    failing_since: datetime
    disabled_at: datetime


@dataclass(frozen=True, slots=True)
class FailedTooLong:
    """The endpoint has only failed for so long that it is to be disabled."""

    failing_since: datetime


Change = BreakerOpened | BreakerClosed | Waiting | DisableWarning | FailedTooLong


def judge(health: Health, sign: Sign, *, terms: HealthTerms, jitter: float) -> tuple[Health, list[Change]]:
    """Count one attempt into an endpoint's health; returns what it is now, and what changed for others.

    `jitter` is a throw of the dice in [-1, 1].
    """
    if sign.signal is Signal.NONE:
        if not sign.probe or health.breaker.state is not BreakerState.HALF_OPEN:
            return health, []
        return replace(health, breaker=breakers.probe_lost(health.breaker, now=sign.at)), []
    changes: list[Change] = []
    health = _through_breaker(health, sign, terms, jitter, changes)
    health = _with_wait(health, sign, changes)
    if sign.signal in _SUCCEEDED:
        forgiven = replace(health, failing_since=None, failed=0, warned=0, last_succeeded_at=sign.at)
        return forgiven, changes
    return _with_failure(health, sign, terms, changes), changes


def _through_breaker(
    health: Health, sign: Sign, terms: HealthTerms, jitter: float, changes: list[Change]
) -> Health:
    before = health.breaker
    if before.state is BreakerState.CLOSED:
        # What began before it closed tells of the trouble that is over.
        if sign.started_at < before.since:
            return health
        after, limit = _counted(health, sign, terms, jitter)
    elif sign.probe:
        bad = sign.signal in _BAD_PROBE
        after = breakers.probed(before, bad=bad, now=sign.at, terms=terms.breaker, jitter=jitter)
        limit = InFlightLimit.ramp()
    else:
        return health
    if after.probe_at is not None and after.probe_at != before.probe_at:
        changes.append(BreakerOpened(after.probe_at, again=before.state is not BreakerState.CLOSED))
    if before.state is not BreakerState.CLOSED and after.state is BreakerState.CLOSED:
        changes.append(BreakerClosed(before.since))
    return replace(health, breaker=after, limit=limit)


def _counted(health: Health, sign: Sign, terms: HealthTerms, jitter: float) -> tuple[Breaker, InFlightLimit]:
    bad = sign.signal in _BAD
    breaker = breakers.saw(health.breaker, bad=bad, now=sign.at, terms=terms.breaker, jitter=jitter)
    limit = _limit(health.limit, sign, terms.in_flight)
    if breaker.openings and sign.signal in _IN_ORDER and limit.now >= terms.in_flight:
        breaker = breakers.recovered(breaker)
    return breaker, limit


def _limit(limit: InFlightLimit, sign: Sign, most: int) -> InFlightLimit:
    match sign.signal:
        case Signal.GOOD | Signal.ALIVE:
            return limits.grown(limit, most=most)
        case Signal.BAD if not limit.ramping:
            return limit
        case Signal.BAD | Signal.SLOW | Signal.CONGESTED:
            return limits.lowered(limit, started_at=sign.started_at, now=sign.at)
        case Signal.NONE:
            return limit
        case _:
            assert_never(sign.signal)


def _with_wait(health: Health, sign: Sign, changes: list[Change]) -> Health:
    # To wait for no time at all is nothing to be told of.
    if not sign.wait:
        return health
    until = sign.at + sign.wait
    known = health.waits_until
    if known is not None and known >= until:
        return health
    # Those that were in flight together all ask for the same; only what makes a difference is told.
    if known is None or known <= sign.at or until - known > NO_NEWS:
        changes.append(Waiting(until))
    return replace(health, waits_until=until)


def _with_failure(health: Health, sign: Sign, terms: HealthTerms, changes: list[Change]) -> Health:
    last, since = health.last_failed_at, health.failing_since
    # After a longer silence than that the earlier failures are no part of this trouble.
    if since is None or (last is not None and sign.at - last > max(terms.disable_after, SILENCE)):
        return replace(health, failing_since=sign.at, failed=1, warned=0, last_failed_at=sign.at)
    health = replace(health, failed=health.failed + 1, last_failed_at=sign.at)
    passed = (sign.at - since) / terms.disable_after
    if passed >= 1 and health.failed >= terms.breaker.consecutive:
        changes.append(FailedTooLong(since))
        return health
    reached = max((percent for percent in WARNINGS if passed * 100 >= percent), default=0)
    if reached > health.warned:
        changes.append(DisableWarning(reached, since, since + terms.disable_after))
        return replace(health, warned=reached)
    return health


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many deliveries of an endpoint may be claimed now, and why no more.

    `until` is when to look again; None: when something of it has ended. With a rate limit, `counts_from` is
    the moment from which what is taken counts.
    """

    take: int
    hold: Hold | None = None
    until: datetime | None = None
    probe: bool = False
    counts_from: datetime | None = None


def allowance(
    health: Health,
    *,
    in_flight: int,
    most: int,
    rate: RateLimit | None,
    next_at: datetime | None,
    now: datetime,
) -> Allowance:
    """Say what an active endpoint may be sent now, beside the `in_flight` that are on their way.

    `most` is the endpoint's own limit, `next_at` when its rate limit lets the next one go.
    """
    if (held := _held(health, now)) is not None:
        return held
    probe = health.breaker.state is BreakerState.OPEN
    free = (most if probe else min(most, health.limit.now)) - in_flight
    if free <= 0:
        return Allowance(0, Hold.IN_FLIGHT_LIMIT)
    allowed = Allowance(1, Hold.BREAKER_OPEN, probe=True) if probe else Allowance(free, Hold.IN_FLIGHT_LIMIT)
    return allowed if rate is None else _paced(allowed, rate, next_at, now)


def _held(health: Health, now: datetime) -> Allowance | None:
    breaker = health.breaker
    if breaker.state is BreakerState.HALF_OPEN:
        return Allowance(0, Hold.BREAKER_OPEN)
    if breaker.probe_at is not None and breaker.probe_at > now:
        return Allowance(0, Hold.BREAKER_OPEN, breaker.probe_at)
    if health.waits_until is not None and health.waits_until > now:
        return Allowance(0, Hold.RETRY_AFTER, health.waits_until)
    return None


def _paced(allowed: Allowance, rate: RateLimit, next_at: datetime | None, now: datetime) -> Allowance:
    count, counts_from = room(rate, next_at, now=now)
    if count >= allowed.take:
        return replace(allowed, counts_from=counts_from)
    until = counts_from + count * rate.interval
    return Allowance(count, Hold.RATE_LIMIT, until, allowed.probe and count > 0, counts_from)
