"""Time ranges as points of a chart, and the counts of each point. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.domain.histogram import estimate_quantile, merge_counts
from retries.outcome import INTERNAL_OUTCOMES, Delivered, label_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DELIVERED: Final = label_outcome(Delivered(200))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TimeRange(StrEnum):
    """How far back a series goes."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def interval(self) -> timedelta:
        """The duration of one point."""
        return _INTERVALS[self]

    @property
    def point_count(self) -> int:
        """The number of points."""
        return _POINT_COUNTS[self]


_INTERVALS: Final = {
    TimeRange.HOUR: timedelta(minutes=1),
    TimeRange.DAY: timedelta(minutes=15),
    TimeRange.WEEK: timedelta(hours=1),
}
_POINT_COUNTS: Final = {TimeRange.HOUR: 60, TimeRange.DAY: 96, TimeRange.WEEK: 168}


@dataclass(frozen=True, slots=True)
class IntervalCounts:
    """The counts of an interval: attempts by outcome, and latencies by histogram slot."""

    at: datetime
    outcomes: Mapping[str, int]
    latencies: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Point:
    """The attempts of one interval. Attempts that we interrupted are not in `failed`."""

    at: datetime
    delivered: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    interrupted: int = 0
    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None

    @property
    def failures(self) -> int:
        """How many failed."""
        return sum(self.failed.values())

    @property
    def attempts(self) -> int:
        """How many were delivered or failed."""
        return self.delivered + self.failures

    @property
    def success_ratio(self) -> float | None:
        """From 0 to 1; None without attempts."""
        return self.delivered / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a time range, oldest first, and their total.

    `as_of` is until when everything is counted. `sampled`: there were more attempts than were read.
    """

    time_range: TimeRange
    points: tuple[Point, ...]
    total: Point
    as_of: datetime
    sampled: bool = False

    @property
    def per_minute(self) -> float:
        """The average number of attempts a minute."""
        minutes = (self.as_of - self.points[0].at) / timedelta(minutes=1)
        return self.total.attempts / minutes if minutes > 0 else 0.0


def floor_to_interval(moment: datetime, interval: timedelta) -> datetime:
    """The beginning of the interval that contains this moment."""
    return moment - (moment - _EPOCH) % interval


def compute_first_point(time_range: TimeRange, *, now: datetime) -> datetime:
    """The beginning of the first point of a time range."""
    return floor_to_interval(now, time_range.interval) - time_range.interval * (time_range.point_count - 1)


def build_series(
    time_range: TimeRange, counts: Iterable[IntervalCounts], *, now: datetime, as_of: datetime
) -> Series:
    """Sum counts up to the points of a time range; counts outside of it are left out."""
    first = compute_first_point(time_range, now=now)
    groups: list[list[IntervalCounts]] = [[] for _ in range(time_range.point_count)]
    for counts_ in counts:
        index = (counts_.at - first) // time_range.interval
        if 0 <= index < time_range.point_count:
            groups[index].append(counts_)
    summed = [_sum_counts(group) for group in groups]
    points = tuple(
        _build_point(first + time_range.interval * index, *each) for index, each in enumerate(summed)
    )
    outcomes, slots = zip(*summed, strict=True)
    total = _build_point(first, merge_counts(outcomes), merge_counts(slots))
    return Series(time_range, points, total, as_of)


def _sum_counts(counts: Sequence[IntervalCounts]) -> tuple[dict[str, int], dict[int, int]]:
    return merge_counts(interval.outcomes for interval in counts), merge_counts(
        interval.latencies for interval in counts
    )


def _build_point(at: datetime, outcomes: Mapping[str, int], slots: Mapping[int, int]) -> Point:
    failed = {name: count for name, count in outcomes.items() if name not in {DELIVERED, *INTERNAL_OUTCOMES}}
    ours = sum(outcomes.get(name, 0) for name in INTERNAL_OUTCOMES)
    p50, p95, p99 = (estimate_quantile(slots, which) for which in (0.5, 0.95, 0.99))
    return Point(at, outcomes.get(DELIVERED, 0), failed, ours, p50, p95, p99)
