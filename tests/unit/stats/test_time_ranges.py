"""Spans of time as points: what was counted lands in the point that it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.figures import Span
from delivery.figures.spans import Counted, first_of, floor, series
from retries.outcome import NAMES, OURS

NOW = datetime(2030, 3, 1, 12, 34, 56, tzinfo=UTC)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
SPANS = st.sampled_from(Span)
OUTCOMES = st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(1, 1_000))


@given(SPANS, NOWS)
def test_the_last_point_is_the_one_that_now_is_in(span: Span, now: datetime):
    points = series(span, [], now=now, as_of=now).points
    assert points[0].at == first_of(span, now=now)
    assert points[-1].at <= now < points[-1].at + span.step
    assert len(points) == span.points


@given(SPANS, NOWS)
def test_points_follow_each_other_without_a_gap(span: Span, now: datetime):
    points = series(span, [], now=now, as_of=now).points
    assert {later.at - one.at for one, later in pairwise(points)} == {span.step}
    assert all(floor(point.at, span.step) == point.at for point in points)


@given(st.data(), SPANS, NOWS)
def test_everything_within_a_span_is_counted_once_and_nothing_else(
    data: st.DataObject, span: Span, now: datetime
):
    first = first_of(span, now=now)
    moments = st.integers(-3 * 60, span.step // timedelta(minutes=1) * span.points + 60)
    counted = [
        Counted(first + timedelta(minutes=minute), outcomes, {})
        for minute, outcomes in data.draw(st.lists(st.tuples(moments, OUTCOMES), max_size=20))
    ]
    told = series(span, counted, now=now, as_of=now)
    for number, point in enumerate((*told.points, told.whole)):
        end = point.at + span.step * (span.points if number == span.points else 1)
        within = [one.outcomes for one in counted if point.at <= one.at < end]
        assert point.delivered == sum(each.get("delivered", 0) for each in within)
        assert point.interrupted == sum(each.get(name, 0) for each in within for name in OURS)
        failed = sum(sum(each.values()) for each in within) - point.delivered - point.interrupted
        assert point.failures == failed


def test_a_span_covers_what_its_name_says():
    assert Span.HOUR.step * Span.HOUR.points == timedelta(hours=1)
    assert Span.DAY.step * Span.DAY.points == timedelta(days=1)
    assert Span.WEEK.step * Span.WEEK.points == timedelta(days=7)


def test_what_we_broke_off_is_neither_delivered_nor_failed():
    counted = [Counted(NOW, {"delivered": 3, "refused": 1, "interrupted": 5}, {})]
    whole = series(Span.HOUR, counted, now=NOW, as_of=NOW).whole
    assert (whole.delivered, whole.failed, whole.interrupted) == (3, {"refused": 1}, 5)
    assert (whole.attempts, whole.success_ratio) == (4, 0.75)


def test_nothing_has_no_ratio_and_no_latency():
    whole = series(Span.DAY, [], now=NOW, as_of=NOW).whole
    assert (whole.attempts, whole.success_ratio, whole.p50, whole.p99) == (0, None, None, None)


def test_latencies_of_a_span_are_of_all_its_points_together():
    counted = [
        Counted(NOW - timedelta(minutes=30), {"delivered": 99}, {1: 99}),
        Counted(NOW, {"delivered": 1}, {40: 1}),
    ]
    told = series(Span.HOUR, counted, now=NOW, as_of=NOW)
    quick, slow = told.points[29], told.points[59]
    assert quick.p99 is not None
    assert slow.p50 is not None
    assert told.whole.p50 is not None
    assert told.whole.p50 < quick.p99 < slow.p50


def test_attempts_a_minute_are_of_the_time_that_was_counted():
    counted = [Counted(first_of(Span.HOUR, now=NOW), {"delivered": 60}, {})]
    whole_hour = series(Span.HOUR, counted, now=NOW, as_of=first_of(Span.HOUR, now=NOW) + timedelta(hours=1))
    half = series(Span.HOUR, counted, now=NOW, as_of=first_of(Span.HOUR, now=NOW) + timedelta(minutes=30))
    assert whole_hour.per_minute == pytest.approx(1)
    assert half.per_minute == pytest.approx(2)


def test_no_time_has_no_attempts_a_minute():
    assert series(Span.HOUR, [], now=NOW, as_of=first_of(Span.HOUR, now=NOW)).per_minute == 0
