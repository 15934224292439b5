"""A bucket holds so many, and fills up again evenly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from delivery.keys import Bucket, Pace
from delivery.keys.buckets import NOTHING

NOW = datetime(2026, 11, 26, tzinfo=UTC)
PACE = Pace.evenly(10)


def after(bucket: Bucket, seconds: float) -> Bucket:
    return bucket.refilled(PACE, now=bucket.at + timedelta(seconds=seconds))


def test_a_full_bucket_gives_a_second_s_worth_at_once_and_no_more() -> None:
    bucket = Bucket.full(PACE, now=NOW)
    for _ in range(10):
        assert bucket.wait(PACE) == NOTHING
        bucket = bucket.less_one()
    assert bucket.wait(PACE) == timedelta(seconds=0.1)
    assert after(bucket, 0.1).wait(PACE) == NOTHING
    assert bucket.until_full(PACE) == timedelta(seconds=1)


def test_it_never_holds_more_than_fits() -> None:
    assert after(Bucket.full(PACE, now=NOW), 3600).left == 10


def test_a_clock_that_was_set_back_neither_fills_nor_stops_it() -> None:
    bucket = after(Bucket.full(PACE, now=NOW).less_one(), -3600)
    assert bucket.left == 9
    assert after(bucket, 0.1).left == 10


@given(st.lists(st.floats(0, 2), max_size=200))
def test_in_any_time_no_more_goes_than_a_burst_and_what_came_in_meanwhile(pauses: list[float]) -> None:
    bucket, taken = Bucket.full(PACE, now=NOW), 0
    for pause in pauses:
        bucket = after(bucket, pause)
        if bucket.wait(PACE) == NOTHING:
            bucket, taken = bucket.less_one(), taken + 1
    assert taken <= PACE.burst + PACE.per_second * sum(pauses) + 1e-6


@given(st.floats(-60, 60))
def test_whoever_waits_as_long_as_told_is_let_through(left: float) -> None:
    bucket = Bucket(left, NOW)
    waited = bucket.wait(PACE) + timedelta.resolution
    assert bucket.refilled(PACE, now=NOW + waited).left >= min(1, left) - 1e-9
