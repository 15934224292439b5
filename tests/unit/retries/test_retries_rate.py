"""A rate limit is smooth: never more than it says, spread evenly, and all of it for whoever keeps asking."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from retries import RateLimit, room

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta.resolution
NONE = timedelta(0)
RATES = st.builds(RateLimit, st.integers(1, 5000), st.timedeltas(timedelta(seconds=0.5), timedelta(days=1)))
SHARES = st.floats(0, 1)


class Taker:
    """Somebody who looks, and takes of what there is room for."""

    def __init__(self, rate: RateLimit, next_at: datetime | None = None) -> None:
        self.rate = rate
        self.next_at = next_at
        self.taken: list[tuple[datetime, int]] = []

    @property
    def count(self) -> int:
        return sum(count for _, count in self.taken)

    def look(self, now: datetime, *, most: int = 10_000_000) -> int:
        count, counts_from = room(self.rate, self.next_at, now=now)
        take = min(count, most)
        if take:
            self.next_at = counts_from + take * self.rate.interval
            self.taken.append((now, take))
        return take

    def room_at(self, now: datetime) -> int:
        return room(self.rate, self.next_at, now=now)[0]

    def most_within(self, per: timedelta) -> int:
        """The most that were taken in any time of this length, its last moment included."""
        return max(
            (sum(count for at, count in self.taken if since <= at <= since + per) for since, _ in self.taken),
            default=0,
        )


@pytest.mark.parametrize(
    ("limit", "per", "together"),
    [
        (1, MINUTE, 1),
        (1, SECOND, 1),
        (19, SECOND, 1),
        (20, SECOND, 2),
        (100, SECOND, 10),
        (5, 5 * MICROSECOND, 5),
    ],
)
def test_a_tenth_of_a_seconds_worth_goes_together_but_at_least_one(limit: int, per: timedelta, together: int):
    assert RateLimit(limit, per).together == together


def test_a_fresh_rate_lets_go_together_what_may_go_together():
    count, counts_from = room(RateLimit(100, SECOND), None, now=NOW)
    assert count == 10
    assert counts_from + count * RateLimit(100, SECOND).interval == NOW + timedelta(seconds=0.01)


def test_the_next_one_is_due_an_interval_after_the_last():
    taker = Taker(RateLimit(4, MINUTE))
    assert [taker.look(NOW + seconds * SECOND) for seconds in (0, 14, 15, 16, 29, 30)] == [1, 0, 1, 0, 0, 1]


def test_who_has_to_wait_is_told_until_when():
    taker = Taker(RateLimit(4, MINUTE))
    taker.look(NOW)
    assert room(taker.rate, taker.next_at, now=NOW + SECOND) == (0, NOW + 15 * SECOND)


def test_a_rest_is_not_saved_up():
    taker = Taker(RateLimit(4, MINUTE))
    taker.look(NOW)
    assert [taker.look(NOW + timedelta(hours=1, seconds=seconds)) for seconds in (0, 1)] == [1, 0]


def test_a_look_that_comes_a_little_late_costs_nothing():
    taker = Taker(RateLimit(10, SECOND))
    assert [taker.look(NOW + timedelta(seconds=seconds)) for seconds in (0, 0.13, 0.2)] == [1, 1, 1]


def test_an_interval_is_rounded_up_so_that_the_limit_is_kept():
    assert RateLimit(3, SECOND).interval == timedelta(microseconds=333_334)


def test_a_limit_beyond_what_a_clock_can_tell_apart_has_an_interval_still():
    assert RateLimit(5_000_000, SECOND).interval == MICROSECOND


@given(
    rate=RATES,
    looks=st.lists(st.tuples(st.floats(0, 3), SHARES), max_size=60),
    next_in=st.none() | st.floats(-2, 2),
)
def test_in_any_window_no_more_go_than_the_limit_and_those_that_go_together(
    rate: RateLimit, looks: list[tuple[float, float]], next_in: float | None
):
    taker = Taker(rate, None if next_in is None else NOW + next_in * rate.interval)
    now = NOW
    for intervals, share in looks:
        now += intervals * rate.interval * rate.together
        taker.look(now, most=round(share * rate.together))
    assert taker.most_within(rate.per) <= rate.limit + rate.together
    assert taker.most_within(rate.per / 10) <= rate.limit / 10 + rate.together + 1
    assert taker.most_within(NONE) <= rate.together


@given(rate=RATES)
def test_in_a_window_of_who_looks_all_the_time_no_more_go_than_the_limit_and_those_that_go_together(
    rate: RateLimit,
):
    assume(rate.limit <= 500)
    taker, now = Taker(rate), NOW
    for _ in range(2 * rate.limit):
        taker.look(now)
        assert taker.next_at is not None
        now = max(now, taker.next_at)
    assert rate.limit * 0.9 - 1 <= taker.most_within(rate.per) <= rate.limit + rate.together


@given(rate=RATES, lateness=st.lists(SHARES, min_size=1, max_size=50), next_in=st.none() | st.floats(0, 1))
@example(rate=RateLimit(10, SECOND), lateness=[1.0, 0.0, 0.5], next_in=None)
@example(rate=RateLimit(29, SECOND), lateness=[1.0], next_in=None)
def test_a_stream_loses_nothing_to_looks_that_come_late_by_less_than_the_lateness_allowed(
    rate: RateLimit, lateness: list[float], next_in: float | None
):
    taker = Taker(rate, None if next_in is None else NOW + next_in * rate.interval)
    due = room(rate, taker.next_at, now=NOW)[1]
    now = max(NOW, due)
    first = due
    for late in lateness:
        assert 1 <= taker.look(now) <= rate.together
        assert taker.next_at is not None
        now = max(now, taker.next_at + late * rate.lateness)
    assert taker.next_at == first + taker.count * rate.interval


@given(rate=RATES)
def test_a_look_may_always_come_a_twentieth_of_a_second_late(rate: RateLimit):
    assert rate.lateness >= timedelta(seconds=0.05) - MICROSECOND


@given(rate=RATES, next_in=st.none() | st.floats(-3, 1), asked=st.floats(0, 3))
def test_nobody_waits_longer_than_an_interval(rate: RateLimit, next_in: float | None, asked: float):
    taker = Taker(rate, None if next_in is None else NOW + next_in * rate.interval)
    now = NOW + asked * rate.interval
    taker.look(now)
    assert taker.room_at(now + rate.interval) >= 1


@given(rate=RATES, next_in=st.none() | st.floats(-3, 3))
def test_when_the_time_has_come_that_was_told_there_is_room(rate: RateLimit, next_in: float | None):
    taker = Taker(rate, None if next_in is None else NOW + next_in * rate.interval)
    count, counts_from = room(rate, taker.next_at, now=NOW)
    assert count > 0 or taker.room_at(counts_from) == 1


@given(rate=RATES, next_in=st.none() | st.floats(-3, 3))
def test_what_was_taken_whole_leaves_no_room(rate: RateLimit, next_in: float | None):
    taker = Taker(rate, None if next_in is None else NOW + next_in * rate.interval)
    taker.look(NOW)
    assert taker.room_at(NOW) == 0
