"""The circuit breaker of one endpoint: a frozen value, and how attempts change it. Pure.

A closed breaker counts consecutive failures, and the share of failures in a sliding window. An open one lets
nothing through until its cool-down is over, then one probe. A good probe closes it, a bad one opens it for
longer. Other attempts that end while it is open began before that, and change nothing.
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
    """Whether attempts are let through: all, none, or only the probe that is in flight."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker opens and for how long.

    It opens after `consecutive` failures, or when of at least `minimum` attempts in the window a share of
    `ratio` (0 to 1) has failed. The cool-down doubles with each opening in a row, up to the longest.
    """

    consecutive: int = 10
    ratio: float = 0.5
    minimum: int = 20
    window: timedelta = timedelta(seconds=60)
    cool_down: timedelta = timedelta(seconds=30)
    longest_cool_down: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of a breaker. `openings` counts those in a row, without a full recovery between them.

    The counts of the previous window are weighted by the part of it that the sliding window still covers.
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
        """Create a closed breaker without history."""
        return cls(BreakerState.CLOSED, since=now, window_since=now, openings=openings)


def record_attempt(
    breaker: Breaker, *, is_bad: bool, now: datetime, config: BreakerConfig, jitter: float
) -> Breaker:
    """Count a finished attempt in a closed breaker; it may open."""
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
    """Let a probe through an open breaker."""
    return replace(breaker, state=BreakerState.HALF_OPEN)


def finish_probe(
    breaker: Breaker, *, is_bad: bool, now: datetime, config: BreakerConfig, jitter: float
) -> Breaker:
    """Count the end of the probe: close, or stay open for longer."""
    if is_bad:
        return replace(_open_breaker(breaker, now, config, jitter), since=breaker.since)
    return Breaker.fresh(now, openings=breaker.openings)


def discard_probe(breaker: Breaker, *, now: datetime) -> Breaker:
    """Allow another probe at once: this one was never sent, or we interrupted it."""
    return replace(breaker, state=BreakerState.OPEN, probe_at=now)


def reset_openings(breaker: Breaker) -> Breaker:
    """Count the next opening as the first again: the endpoint is back at full speed."""
    return replace(breaker, openings=0)


def compute_cool_down(openings: int, config: BreakerConfig, jitter: float) -> timedelta:
    """Return how long the breaker stays open when it opens for the n-th time in a row, counted from 0.

    `jitter` is a random number in [-1, 1]; numbers outside count as the nearer end.
    """
    spread = 1 + JITTER_RATIO * max(-1.0, min(1.0, jitter))
    doubled = config.cool_down * (1 << min(openings, _MAX_DOUBLINGS))
    return min(doubled, config.longest_cool_down) * spread


_MAX_DOUBLINGS: Final = 20  # a million times the cool-down exceeds any limit


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
    # Attempts are recorded in any order: this one may have ended before the current window began.
    weight = min(1.0, max(0.0, 1 - (now - breaker.window_since) / config.window))
    requests = breaker.requests + weight * breaker.earlier_requests
    failures = breaker.failures + weight * breaker.earlier_failures
    return requests >= config.minimum and failures >= config.ratio * requests


def _roll_window(breaker: Breaker, now: datetime, window: timedelta) -> Breaker:
    """Start a new window when the current one is over."""
    passed = now - breaker.window_since
    if passed < window:
        return breaker
    is_history_over = passed >= 2 * window
    return replace(
        breaker,
        window_since=now if is_history_over else breaker.window_since + window,
        requests=0,
        failures=0,
        earlier_requests=0 if is_history_over else breaker.requests,
        earlier_failures=0 if is_history_over else breaker.failures,
    )
