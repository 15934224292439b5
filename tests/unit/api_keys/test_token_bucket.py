"""A token bucket has a capacity and refills evenly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.token_bucket import ZERO, BucketRate, TokenBucket

NOW = datetime(2026, 11, 26, tzinfo=UTC)
PACE = BucketRate.from_requests_per_second(10)


def after(bucket: TokenBucket, seconds: float) -> TokenBucket:
    return bucket.refill(PACE, now=bucket.updated_at + timedelta(seconds=seconds))


def test_a_full_bucket_gives_a_second_s_worth_at_once_and_no_more() -> None:
    bucket = TokenBucket.create_full(PACE, now=NOW)
    for _ in range(10):
        assert bucket.compute_wait(PACE) == ZERO
        bucket = bucket.take_one()
    assert bucket.compute_wait(PACE) == timedelta(seconds=0.1)
    assert after(bucket, 0.1).compute_wait(PACE) == ZERO
    assert bucket.compute_time_to_full(PACE) == timedelta(seconds=1)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    assert after(TokenBucket.create_full(PACE, now=NOW), 3600).tokens == 10


def test_a_clock_that_was_set_back_neither_fills_nor_stops_it() -> None:
    bucket = after(TokenBucket.create_full(PACE, now=NOW).take_one(), -3600)
    assert bucket.tokens == 9
    assert after(bucket, 0.1).tokens == 10


@given(st.lists(st.floats(0, 2), max_size=200))
def test_bucket_never_exceeds_burst_plus_refill(pauses: list[float]) -> None:
    bucket, taken = TokenBucket.create_full(PACE, now=NOW), 0
    for pause in pauses:
        bucket = after(bucket, pause)
        if bucket.compute_wait(PACE) == ZERO:
            bucket, taken = bucket.take_one(), taken + 1
    assert taken <= PACE.burst + PACE.per_second * sum(pauses) + 1e-6


@given(st.floats(-60, 60))
def test_a_token_is_there_after_the_announced_wait(left: float) -> None:
    bucket = TokenBucket(left, NOW)
    waited = bucket.compute_wait(PACE) + timedelta.resolution
    assert bucket.refill(PACE, now=NOW + waited).tokens >= min(1, left) - 1e-9
