"""Spans of time as points: what was counted lands in the point that it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.services.stats.series import (
    IntervalCounts,
    TimeRange,
    build_series,
    compute_first_point,
    floor_to_interval,
)
from retries.outcome import INTERNAL_OUTCOMES, OUTCOME_NAMES

NOW = datetime(2030, 3, 1, 12, 34, 56, tzinfo=UTC)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
SPANS = st.sampled_from(TimeRange)
OUTCOMES = st.dictionaries(st.sampled_from(sorted(OUTCOME_NAMES)), st.integers(1, 1_000))


@given(SPANS, NOWS)
def test_the_last_point_is_the_one_that_now_is_in(span: TimeRange, now: datetime):
    points = build_series(span, [], now=now, as_of=now).points
    assert points[0].at == compute_first_point(span, now=now)
    assert points[-1].at <= now < points[-1].at + span.interval
    assert len(points) == span.point_count


@given(SPANS, NOWS)
def test_points_follow_each_other_without_a_gap(span: TimeRange, now: datetime):
    points = build_series(span, [], now=now, as_of=now).points
    assert {later.at - one.at for one, later in pairwise(points)} == {span.interval}
    assert all(floor_to_interval(point.at, span.interval) == point.at for point in points)


@given(st.data(), SPANS, NOWS)
def test_everything_within_a_span_is_counted_once_and_nothing_else(
    data: st.DataObject, span: TimeRange, now: datetime
):
    first = compute_first_point(span, now=now)
    moments = st.integers(-3 * 60, span.interval // timedelta(minutes=1) * span.point_count + 60)
    counted = [
        IntervalCounts(first + timedelta(minutes=minute), outcomes, {})
        for minute, outcomes in data.draw(st.lists(st.tuples(moments, OUTCOMES), max_size=20))
    ]
    told = build_series(span, counted, now=now, as_of=now)
    for number, point in enumerate((*told.points, told.total)):
        end = point.at + span.interval * (span.point_count if number == span.point_count else 1)
        within = [one.outcomes for one in counted if point.at <= one.at < end]
        assert point.delivered == sum(each.get("delivered", 0) for each in within)
        assert point.interrupted == sum(each.get(name, 0) for each in within for name in INTERNAL_OUTCOMES)
        failed = sum(sum(each.values()) for each in within) - point.delivered - point.interrupted
        assert point.failures == failed


def test_a_span_covers_what_its_name_says():
    assert TimeRange.HOUR.interval * TimeRange.HOUR.point_count == timedelta(hours=1)
    assert TimeRange.DAY.interval * TimeRange.DAY.point_count == timedelta(days=1)
    assert TimeRange.WEEK.interval * TimeRange.WEEK.point_count == timedelta(days=7)


def test_what_we_broke_off_is_neither_delivered_nor_failed():
    counted = [IntervalCounts(NOW, {"delivered": 3, "refused": 1, "interrupted": 5}, {})]
    whole = build_series(TimeRange.HOUR, counted, now=NOW, as_of=NOW).total
    assert (whole.delivered, whole.failed, whole.interrupted) == (3, {"refused": 1}, 5)
    assert (whole.attempts, whole.success_ratio) == (4, 0.75)


def test_nothing_has_no_ratio_and_no_latency():
    whole = build_series(TimeRange.DAY, [], now=NOW, as_of=NOW).total
    assert (whole.attempts, whole.success_ratio, whole.p50, whole.p99) == (0, None, None, None)


def test_latencies_of_a_span_are_of_all_its_points_together():
    counted = [
        IntervalCounts(NOW - timedelta(minutes=30), {"delivered": 99}, {1: 99}),
        IntervalCounts(NOW, {"delivered": 1}, {40: 1}),
    ]
    told = build_series(TimeRange.HOUR, counted, now=NOW, as_of=NOW)
    quick, slow = told.points[29], told.points[59]
    assert quick.p99 is not None
    assert slow.p50 is not None
    assert told.total.p50 is not None
    assert told.total.p50 < quick.p99 < slow.p50


def test_attempts_a_minute_are_of_the_time_that_was_counted():
    counted = [IntervalCounts(compute_first_point(TimeRange.HOUR, now=NOW), {"delivered": 60}, {})]
    whole_hour = build_series(
        TimeRange.HOUR,
        counted,
        now=NOW,
        as_of=compute_first_point(TimeRange.HOUR, now=NOW) + timedelta(hours=1),
    )
    half = build_series(
        TimeRange.HOUR,
        counted,
        now=NOW,
        as_of=compute_first_point(TimeRange.HOUR, now=NOW) + timedelta(minutes=30),
    )
    assert whole_hour.per_minute == pytest.approx(1)
    assert half.per_minute == pytest.approx(2)


def test_no_time_has_no_attempts_a_minute():
    assert (
        build_series(
            TimeRange.HOUR, [], now=NOW, as_of=compute_first_point(TimeRange.HOUR, now=NOW)
        ).per_minute
        == 0
    )
