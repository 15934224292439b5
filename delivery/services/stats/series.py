"""Spans of time as points of a chart, and what is counted put into them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.histogram import merged, quantile
from retries.outcome import OURS, Delivered, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DELIVERED: Final = name_of(Delivered(200))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Span(StrEnum):
    """How far back figures go."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def step(self) -> timedelta:
        """How much time one point stands for."""
        return _STEPS[self]

    @property
    def points(self) -> int:
        """How many points there are."""
        return _POINTS[self]


_STEPS: Final = {
    Span.HOUR: timedelta(minutes=1),
    Span.DAY: timedelta(minutes=15),
    Span.WEEK: timedelta(hours=1),
}
_POINTS: Final = {Span.HOUR: 60, Span.DAY: 96, Span.WEEK: 168}


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted from one moment on: attempts by outcome, and how long they took, in slots."""

    at: datetime
    outcomes: Mapping[str, int]
    latencies: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Point:
    """What came of the attempts of one step of time. What was broken off by us is not in `failed`."""

    at: datetime
    delivered: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    interrupted: int = 0
    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None

    @property
    def failures(self) -> int:
        """How many failed, however they did."""
        return sum(self.failed.values())

    @property
    def attempts(self) -> int:
        """How many there were."""
        return self.delivered + self.failures

    @property
    def success_ratio(self) -> float | None:
        """From 0 to 1; None when there was nothing."""
        return self.delivered / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a span, oldest first, and `whole`: all of them together.

    `as_of` is until when everything is counted. `sampled`: there was more than was looked at.
    """

    span: Span
    points: tuple[Point, ...]
    whole: Point
    as_of: datetime
    sampled: bool = False

    @property
    def per_minute(self) -> float:
        """How many attempts there were each minute, on average."""
        minutes = (self.as_of - self.points[0].at) / timedelta(minutes=1)
        return self.whole.attempts / minutes if minutes > 0 else 0.0


def floor(moment: datetime, step: timedelta) -> datetime:
    """The beginning of the step of time that a moment is in."""
    return moment - (moment - _EPOCH) % step


def first_of(span: Span, *, now: datetime) -> datetime:
    """Where the first point of a span begins."""
    return floor(now, span.step) - span.step * (span.points - 1)


def series(span: Span, counted: Iterable[Counted], *, now: datetime, as_of: datetime) -> Series:
    """Put what was counted into the points of a span; what lies outside is left out."""
    first = first_of(span, now=now)
    into: list[list[Counted]] = [[] for _ in range(span.points)]
    for one in counted:
        place = (one.at - first) // span.step
        if 0 <= place < span.points:
            into[place].append(one)
    summed = [_summed(some) for some in into]
    points = tuple(_point(first + span.step * place, *each) for place, each in enumerate(summed))
    outcomes, slots = zip(*summed, strict=True)
    whole = _point(first, merged(outcomes), merged(slots))
    return Series(span, points, whole, as_of)


def _summed(some: Sequence[Counted]) -> tuple[dict[str, int], dict[int, int]]:
    return merged(one.outcomes for one in some), merged(one.latencies for one in some)


def _point(at: datetime, outcomes: Mapping[str, int], slots: Mapping[int, int]) -> Point:
    failed = {name: count for name, count in outcomes.items() if name not in {DELIVERED, *OURS}}
    ours = sum(outcomes.get(name, 0) for name in OURS)
    p50, p95, p99 = (quantile(slots, which) for which in (0.5, 0.95, 0.99))
    return Point(at, outcomes.get(DELIVERED, 0), failed, ours, p50, p95, p99)
