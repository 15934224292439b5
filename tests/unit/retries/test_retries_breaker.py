"""A circuit breaker opens when an endpoint fails too much, and closes when a probe has come back well."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retries import Breaker, BreakerConfig, BreakerState, start_probe
from retries.breaker import compute_cool_down, discard_probe, finish_probe, record_attempt, reset_openings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=60)
ONE_MICROSECOND = timedelta(microseconds=1)
TERMS = BreakerConfig()
# Nothing but the share of failures opens a breaker of these terms.
SHARE_ALONE = BreakerConfig(consecutive=1000, ratio=0.5, minimum=20, window=WINDOW)
GOOD, BAD = False, True


def after(
    breaker: Breaker, *bads: bool, at: datetime = NOW, terms: BreakerConfig = TERMS, jitter: float = 0.0
) -> Breaker:
    """What attempts that all end at the same moment make of a breaker."""
    for bad in bads:
        breaker = record_attempt(breaker, is_bad=bad, now=at, config=terms, jitter=jitter)
    return breaker


def opened(*, openings: int = 0, terms: BreakerConfig = TERMS, jitter: float = 0.0) -> Breaker:
    """A breaker that has just opened, after so many times before."""
    closed = Breaker.fresh(NOW, openings=openings)
    return after(closed, *[BAD] * terms.consecutive, terms=terms, jitter=jitter)


def back(breaker: Breaker, *, bad: bool, at: datetime, jitter: float = 0.0) -> Breaker:
    """The breaker after its probe went out and came back."""
    return finish_probe(start_probe(breaker), is_bad=bad, now=at, config=TERMS, jitter=jitter)


# ---- opening
@pytest.mark.parametrize(("failures", "state"), [(9, BreakerState.CLOSED), (10, BreakerState.OPEN)])
def test_consecutive_failures_open_the_breaker(failures: int, state: BreakerState):
    assert after(Breaker.fresh(NOW), *[BAD] * failures).state is state


def test_failures_in_a_row_open_it_however_far_apart():
    breaker = Breaker.fresh(NOW)
    for day in range(10):
        breaker = after(breaker, BAD, at=NOW + timedelta(days=day))
    assert breaker.state is BreakerState.OPEN


def test_a_success_breaks_the_row():
    assert after(Breaker.fresh(NOW), *[BAD] * 9, GOOD, *[BAD] * 9).state is BreakerState.CLOSED


@pytest.mark.parametrize(("failures", "state"), [(9, BreakerState.CLOSED), (10, BreakerState.OPEN)])
def test_a_share_of_failures_opens_it_once_there_are_enough_attempts(failures: int, state: BreakerState):
    assert after(Breaker.fresh(NOW), *[GOOD, BAD] * failures, terms=SHARE_ALONE).state is state


def test_a_smaller_share_of_failures_never_opens_it():
    assert after(Breaker.fresh(NOW), *[GOOD, BAD, GOOD] * 100).state is BreakerState.CLOSED


def test_a_success_never_opens_it_though_it_makes_the_attempts_enough():
    full = after(Breaker.fresh(NOW), *[BAD] * 19, GOOD, terms=SHARE_ALONE)
    assert full.state is BreakerState.CLOSED
    assert after(full, BAD, terms=SHARE_ALONE).state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("seconds", "enough"),
    [(0, 5), (30, 5), (60, 5), (75, 9), (90, 13), (120, 20), (150, 20), (1000, 20)],
)
def test_previous_window_is_weighted_by_its_overlap_with_the_sliding_window(seconds: int, enough: int):
    earlier = after(Breaker.fresh(NOW), *[BAD] * 15, terms=SHARE_ALONE)
    at = NOW + seconds * SECOND
    almost = after(earlier, *[BAD] * (enough - 1), at=at, terms=SHARE_ALONE)
    assert almost.state is BreakerState.CLOSED
    assert after(almost, BAD, at=at, terms=SHARE_ALONE).state is BreakerState.OPEN


def test_attempt_before_the_window_never_overweights_earlier_attempts():
    earlier = after(Breaker.fresh(NOW), *[BAD] * 15, terms=SHARE_ALONE)
    rolled = after(earlier, BAD, at=NOW + WINDOW, terms=SHARE_ALONE)
    assert after(rolled, *[BAD] * 3, at=NOW + WINDOW / 2, terms=SHARE_ALONE).state is BreakerState.CLOSED


def test_an_opening_says_since_when_and_until_when():
    breaker = opened()
    assert (breaker.since, breaker.probe_at) == (NOW, NOW + 30 * SECOND)


# ---- the cool-down
@pytest.mark.parametrize(
    ("openings", "seconds"),
    [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (5, 600), (6, 600), (10**9, 600)],
)
def test_the_cool_down_doubles_up_to_the_longest(openings: int, seconds: int):
    assert compute_cool_down(openings, TERMS, 0.0) == seconds * SECOND


@pytest.mark.parametrize(
    ("jitter", "seconds"), [(-1.0, 24), (-0.5, 27), (0.5, 33), (1.0, 36), (-7.0, 24), (float("inf"), 36)]
)
def test_jitter_moves_a_cool_down_by_a_fifth(jitter: float, seconds: int):
    assert compute_cool_down(0, TERMS, jitter) == seconds * SECOND


@given(
    openings=st.integers(0, 100),
    jitter=st.floats(-1, 1),
    first=st.timedeltas(timedelta(seconds=0.1), timedelta(hours=1)),
    longest=st.timedeltas(timedelta(seconds=0.1), timedelta(hours=1)),
)
def test_a_cool_down_stays_within_a_fifth_of_the_longest_and_of_its_doubling(
    openings: int, jitter: float, first: timedelta, longest: timedelta
):
    terms = BreakerConfig(cool_down=first, longest_cool_down=longest)
    planned = min(first * 2 ** min(openings, 30), longest)
    cooling = compute_cool_down(openings, terms, jitter)
    assert 0.8 * planned - ONE_MICROSECOND <= cooling <= 1.2 * planned + ONE_MICROSECOND


def test_jitter_moves_the_probe_time():
    assert opened(jitter=-1.0).probe_at == NOW + 24 * SECOND


# ---- the probe
def test_a_breaker_is_half_open_while_its_probe_is_on_its_way():
    assert start_probe(opened()).state is BreakerState.HALF_OPEN


def test_a_good_probe_closes_it_as_if_it_had_seen_nothing():
    later = NOW + 31 * SECOND
    assert back(opened(), bad=False, at=later) == Breaker.fresh(later, openings=1)


def test_a_bad_probe_opens_it_for_longer():
    later = NOW + 31 * SECOND
    reopened = back(opened(), bad=True, at=later)
    assert (reopened.state, reopened.probe_at) == (BreakerState.OPEN, later + 60 * SECOND)


def test_a_breaker_has_been_open_since_it_opened_first_however_many_probes_failed():
    breaker = opened()
    for minutes in range(1, 100):
        breaker = back(breaker, bad=True, at=NOW + timedelta(minutes=20 * minutes))
    assert breaker.since == NOW


def test_bad_probes_wait_no_longer_than_the_longest_cool_down():
    breaker = opened()
    for _ in range(100):
        breaker = back(breaker, bad=True, at=NOW, jitter=1.0)
    assert breaker.probe_at == NOW + 720 * SECOND


def test_after_a_probe_that_was_lost_another_may_go_at_once():
    later = NOW + 31 * SECOND
    lost = discard_probe(start_probe(opened()), now=later)
    assert (lost.state, lost.probe_at, lost.since) == (BreakerState.OPEN, later, NOW)


def test_a_probe_that_was_lost_is_no_opening():
    assert discard_probe(start_probe(opened()), now=NOW + WINDOW).openings == opened().openings


# ---- coming back
def test_a_breaker_that_opens_again_before_it_recovered_stays_open_for_longer():
    later = NOW + 31 * SECOND
    closed = back(opened(), bad=False, at=later)
    assert after(closed, *[BAD] * 10, at=later).probe_at == later + 60 * SECOND


def test_a_breaker_that_recovered_opens_as_if_for_the_first_time():
    later = NOW + 31 * SECOND
    closed = reset_openings(back(opened(), bad=False, at=later))
    assert after(closed, *[BAD] * 10, at=later).probe_at == later + 30 * SECOND


# ---- whatever comes
@given(ends=st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=150), jitter=st.floats(-1, 1))
def test_a_breaker_opens_with_a_failure_and_with_nothing_else(ends: list[tuple[bool, float]], jitter: float):
    breaker, now = Breaker.fresh(NOW), NOW
    for bad, seconds in ends:
        now += seconds * SECOND
        breaker = after(breaker, bad, at=now, jitter=jitter)
        if breaker.state is BreakerState.OPEN:
            assert bad
            assert breaker.probe_at is not None
            assert now < breaker.probe_at
            return
        assert breaker.consecutive < TERMS.consecutive


@given(ends=st.lists(st.booleans(), max_size=150), seconds=st.floats(0, 60))
def test_a_breaker_opens_no_later_than_its_ratio_within_one_window_says(ends: list[bool], seconds: float):
    breaker = Breaker.fresh(NOW)
    for number, bad in enumerate(ends, start=1):
        at = NOW + seconds * SECOND * number / (len(ends) + 1)
        breaker = after(breaker, bad, at=at, terms=SHARE_ALONE)
        failures = sum(ends[:number])
        if bad and number >= SHARE_ALONE.minimum and failures >= SHARE_ALONE.ratio * number:
            assert breaker.state is BreakerState.OPEN
            return
        assert breaker.state is BreakerState.CLOSED
