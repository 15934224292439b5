"""The circuit breaker of one endpoint: a frozen value, and what an attempt makes of it. Pure.

Closed, it counts: failures in a row, and their share over a sliding window. Open, it lets nothing through
until its cool-down is over; then one probe. A good probe closes it, a bad one opens it for longer. What ends
while it is open and is not the probe tells of the past, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from retries.backoff import JITTER_RATIO

if TYPE_CHECKING:
    from datetime import datetime


class BreakerState(StrEnum):
    """Whether attempts are let through: all, none, or the one probe that is on its way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker opens and for how long.

    It opens after so many failures in a row, or when their share of at least `minimum` attempts within the
    window reaches `ratio` (0 to 1). The cool-down doubles each time, up to the longest.
    """

    consecutive: int = 10
    ratio: float = 0.5
    minimum: int = 20
    window: timedelta = timedelta(seconds=60)
    cool_down: timedelta = timedelta(seconds=30)
    longest_cool_down: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Where a breaker stands. `openings` counts those in a row, without a full recovery between them.

    The counts of the window before this one weigh in for as much of it as the sliding window still covers.
    """

    state: BreakerState
    since: datetime
    window_since: datetime
    consecutive: int = 0
    requests: int = 0
    failures: int = 0
    earlier_requests: int = 0
    earlier_failures: int = 0
    openings: int = 0
    probe_at: datetime | None = None

    @classmethod
    def fresh(cls, now: datetime, *, openings: int = 0) -> Breaker:
        """A closed breaker that has seen nothing."""
        return cls(BreakerState.CLOSED, since=now, window_since=now, openings=openings)


def record_attempt(
    breaker: Breaker, *, is_bad: bool, now: datetime, config: BreakerConfig, jitter: float
) -> Breaker:
    """Count one attempt's end into a closed breaker; it may open."""
    window = _roll_window(breaker, now, config.window)
    counted = replace(
        window,
        consecutive=window.consecutive + 1 if is_bad else 0,
        requests=window.requests + 1,
        failures=window.failures + is_bad,
    )
    return (
        _open_breaker(counted, now, config, jitter)
        if is_bad and _should_open(counted, now, config)
        else counted
    )


def start_probe(breaker: Breaker) -> Breaker:
    """The probe of an open breaker is on its way."""
    return replace(breaker, state=BreakerState.HALF_OPEN)


def finish_probe(
    breaker: Breaker, *, is_bad: bool, now: datetime, config: BreakerConfig, jitter: float
) -> Breaker:
    """The probe has come back: close, or stay open for longer."""
    if is_bad:
        return replace(_open_breaker(breaker, now, config, jitter), since=breaker.since)
    return Breaker.fresh(now, openings=breaker.openings)


def discard_probe(breaker: Breaker, *, now: datetime) -> Breaker:
    """The probe never went out or was broken off by us: another one may go."""
    return replace(breaker, state=BreakerState.OPEN, probe_at=now)


def reset_openings(breaker: Breaker) -> Breaker:
    """The endpoint is back at full speed: its next opening is a first one again."""
    return replace(breaker, openings=0)


def compute_cool_down(openings: int, config: BreakerConfig, jitter: float) -> timedelta:
    """How long the breaker stays open for the n-th time in a row, counted from 0.

    `jitter` is a throw of the dice in [-1, 1]; what lies outside counts as the nearer end.
    """
    spread = 1 + JITTER_RATIO * max(-1.0, min(1.0, jitter))
    doubled = config.cool_down * (1 << min(openings, _MAX_DOUBLINGS))
    return min(doubled, config.longest_cool_down) * spread


_MAX_DOUBLINGS: Final = 20  # a million times the cool-down is longer than any longest one


def _open_breaker(breaker: Breaker, now: datetime, config: BreakerConfig, jitter: float) -> Breaker:
    return replace(
        Breaker.fresh(now),
        state=BreakerState.OPEN,
        consecutive=breaker.consecutive,
        openings=breaker.openings + 1,
        probe_at=now + compute_cool_down(breaker.openings, config, jitter),
    )


def _should_open(breaker: Breaker, now: datetime, config: BreakerConfig) -> bool:
    if breaker.consecutive >= config.consecutive:
        return True
    # Attempts come in any order: one may have ended before the window began that another one has opened.
    left = min(1.0, max(0.0, 1 - (now - breaker.window_since) / config.window))
    requests = breaker.requests + left * breaker.earlier_requests
    failures = breaker.failures + left * breaker.earlier_failures
    return requests >= config.minimum and failures >= config.ratio * requests


def _roll_window(breaker: Breaker, now: datetime, window: timedelta) -> Breaker:
    """Begin a new window when the current one is over."""
    passed = now - breaker.window_since
    if passed < window:
        return breaker
    gone = passed >= 2 * window
    return replace(
        breaker,
        window_since=now if gone else breaker.window_since + window,
        requests=0,
        failures=0,
        earlier_requests=0 if gone else breaker.requests,
        earlier_failures=0 if gone else breaker.failures,
    )
