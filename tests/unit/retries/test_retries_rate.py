"""A rate limit is smooth: never exceeded, spread evenly, and fully used by constant polling."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from retries.rate import RateLimit, count_permitted

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta.resolution
NONE = timedelta(0)
RATES = st.builds(RateLimit, st.integers(1, 5000), st.timedeltas(timedelta(seconds=0.5), timedelta(days=1)))
SHARES = st.floats(0, 1)


class Poller:
    """Polls a rate limit, and takes all that it allows."""

    def __init__(self, rate: RateLimit, next_at: datetime | None = None) -> None:
        self.rate = rate
        self.next_at = next_at
        self.taken: list[tuple[datetime, int]] = []

    @property
    def count(self) -> int:
        return sum(count for _, count in self.taken)

    def look(self, now: datetime, *, most: int = 10_000_000) -> int:
        count, counts_from = count_permitted(self.rate, self.next_at, now=now)
        take = min(count, most)
        if take:
            self.next_at = counts_from + take * self.rate.interval
            self.taken.append((now, take))
        return take

    def room_at(self, now: datetime) -> int:
        return count_permitted(self.rate, self.next_at, now=now)[0]

    def count_max_within(self, per: timedelta) -> int:
        """The maximum taken in any interval of this length, including its end."""
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
def test_burst_is_a_tenth_of_a_second_but_at_least_one(limit: int, per: timedelta, together: int):
    assert RateLimit(limit, per).burst == together


def test_fresh_rate_limit_allows_a_full_burst():
    count, counts_from = count_permitted(RateLimit(100, SECOND), None, now=NOW)
    assert count == 10
    assert counts_from + count * RateLimit(100, SECOND).interval == NOW + timedelta(seconds=0.01)


def test_the_next_is_due_an_interval_after_the_last():
    poller = Poller(RateLimit(4, MINUTE))
    assert [poller.look(NOW + seconds * SECOND) for seconds in (0, 14, 15, 16, 29, 30)] == [1, 0, 1, 0, 0, 1]


def test_an_exhausted_limit_gives_the_next_time():
    poller = Poller(RateLimit(4, MINUTE))
    poller.look(NOW)
    assert count_permitted(poller.rate, poller.next_at, now=NOW + SECOND) == (0, NOW + 15 * SECOND)


def test_idle_time_does_not_accumulate_credit():
    poller = Poller(RateLimit(4, MINUTE))
    poller.look(NOW)
    assert [poller.look(NOW + timedelta(hours=1, seconds=seconds)) for seconds in (0, 1)] == [1, 0]


def test_slightly_late_poll_loses_no_capacity():
    poller = Poller(RateLimit(10, SECOND))
    assert [poller.look(NOW + timedelta(seconds=seconds)) for seconds in (0, 0.13, 0.2)] == [1, 1, 1]


def test_the_interval_is_rounded_up():
    assert RateLimit(3, SECOND).interval == timedelta(microseconds=333_334)


def test_a_limit_beyond_clock_resolution_has_an_interval():
    assert RateLimit(5_000_000, SECOND).interval == MICROSECOND


@given(
    rate=RATES,
    looks=st.lists(st.tuples(st.floats(0, 3), SHARES), max_size=60),
    next_in=st.none() | st.floats(-2, 2),
)
def test_rate_limit_holds_in_any_window_plus_one_burst(
    rate: RateLimit, looks: list[tuple[float, float]], next_in: float | None
):
    poller = Poller(rate, None if next_in is None else NOW + next_in * rate.interval)
    now = NOW
    for intervals, share in looks:
        now += intervals * rate.interval * rate.burst
        poller.look(now, most=round(share * rate.burst))
    assert poller.count_max_within(rate.per) <= rate.limit + rate.burst
    assert poller.count_max_within(rate.per / 10) <= rate.limit / 10 + rate.burst + 1
    assert poller.count_max_within(NONE) <= rate.burst


@given(rate=RATES)
def test_rate_limit_holds_under_constant_polling(
    rate: RateLimit,
):
    assume(rate.limit <= 500)
    poller, now = Poller(rate), NOW
    for _ in range(2 * rate.limit):
        poller.look(now)
        assert poller.next_at is not None
        now = max(now, poller.next_at)
    assert rate.limit * 0.9 - 1 <= poller.count_max_within(rate.per) <= rate.limit + rate.burst


@given(rate=RATES, lateness=st.lists(SHARES, min_size=1, max_size=50), next_in=st.none() | st.floats(0, 1))
@example(rate=RateLimit(10, SECOND), lateness=[1.0, 0.0, 0.5], next_in=None)
@example(rate=RateLimit(29, SECOND), lateness=[1.0], next_in=None)
def test_polls_late_by_less_than_the_tolerance_lose_no_capacity(
    rate: RateLimit, lateness: list[float], next_in: float | None
):
    poller = Poller(rate, None if next_in is None else NOW + next_in * rate.interval)
    due = count_permitted(rate, poller.next_at, now=NOW)[1]
    now = max(NOW, due)
    first = due
    for late in lateness:
        assert 1 <= poller.look(now) <= rate.burst
        assert poller.next_at is not None
        now = max(now, poller.next_at + late * rate.tolerance)
    assert poller.next_at == first + poller.count * rate.interval


@given(rate=RATES)
def test_tolerance_is_at_least_fifty_milliseconds(rate: RateLimit):
    assert rate.tolerance >= timedelta(seconds=0.05) - MICROSECOND


@given(rate=RATES, next_in=st.none() | st.floats(-3, 1), requested=st.floats(0, 3))
def test_no_wait_is_longer_than_an_interval(rate: RateLimit, next_in: float | None, requested: float):
    poller = Poller(rate, None if next_in is None else NOW + next_in * rate.interval)
    now = NOW + requested * rate.interval
    poller.look(now)
    assert poller.room_at(now + rate.interval) >= 1


@given(rate=RATES, next_in=st.none() | st.floats(-3, 3))
def test_there_is_capacity_at_the_announced_time(rate: RateLimit, next_in: float | None):
    poller = Poller(rate, None if next_in is None else NOW + next_in * rate.interval)
    count, counts_from = count_permitted(rate, poller.next_at, now=NOW)
    assert count > 0 or poller.room_at(counts_from) == 1


@given(rate=RATES, next_in=st.none() | st.floats(-3, 3))
def test_taking_all_grants_leaves_no_capacity(rate: RateLimit, next_in: float | None):
    poller = Poller(rate, None if next_in is None else NOW + next_in * rate.interval)
    poller.look(NOW)
    assert poller.room_at(NOW) == 0
