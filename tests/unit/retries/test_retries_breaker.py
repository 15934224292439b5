"""A circuit breaker opens when an endpoint fails too often, and closes after a good probe."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retries.breaker import (
    Breaker,
    BreakerConfig,
    BreakerState,
    compute_cool_down,
    discard_probe,
    finish_probe,
    record_attempt,
    reset_openings,
    start_probe,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=60)
ONE_MICROSECOND = timedelta(microseconds=1)
TERMS = BreakerConfig()
# With this config only the ratio of failures opens a breaker.
SHARE_ALONE = BreakerConfig(consecutive=1000, ratio=0.5, minimum=20, window=WINDOW)
GOOD, BAD = False, True


def record_all(
    breaker: Breaker, *bads: bool, at: datetime = NOW, config: BreakerConfig = TERMS, jitter: float = 0.0
) -> Breaker:
    """Record attempts that all end at the same time."""
    for bad in bads:
        breaker = record_attempt(breaker, is_bad=bad, now=at, config=config, jitter=jitter)
    return breaker


def make_opened(*, openings: int = 0, config: BreakerConfig = TERMS, jitter: float = 0.0) -> Breaker:
    """Make a breaker that has just opened, after `openings` earlier ones."""
    closed = Breaker.fresh(NOW, openings=openings)
    return record_all(closed, *[BAD] * config.consecutive, config=config, jitter=jitter)


def finish(breaker: Breaker, *, bad: bool, at: datetime, jitter: float = 0.0) -> Breaker:
    """Send the breaker's probe, and end it."""
    return finish_probe(start_probe(breaker), is_bad=bad, now=at, config=TERMS, jitter=jitter)


# ---- opening
@pytest.mark.parametrize(("failures", "state"), [(9, BreakerState.CLOSED), (10, BreakerState.OPEN)])
def test_consecutive_failures_open_the_breaker(failures: int, state: BreakerState):
    assert record_all(Breaker.fresh(NOW), *[BAD] * failures).state is state


def test_consecutive_failures_open_it_however_far_apart():
    breaker = Breaker.fresh(NOW)
    for day in range(10):
        breaker = record_all(breaker, BAD, at=NOW + timedelta(days=day))
    assert breaker.state is BreakerState.OPEN


def test_a_success_resets_the_consecutive_failures():
    assert record_all(Breaker.fresh(NOW), *[BAD] * 9, GOOD, *[BAD] * 9).state is BreakerState.CLOSED


@pytest.mark.parametrize(("failures", "state"), [(9, BreakerState.CLOSED), (10, BreakerState.OPEN)])
def test_a_ratio_of_failures_opens_it_after_enough_attempts(failures: int, state: BreakerState):
    assert record_all(Breaker.fresh(NOW), *[GOOD, BAD] * failures, config=SHARE_ALONE).state is state


def test_a_smaller_ratio_of_failures_never_opens_it():
    assert record_all(Breaker.fresh(NOW), *[GOOD, BAD, GOOD] * 100).state is BreakerState.CLOSED


def test_a_success_never_opens_it():
    full = record_all(Breaker.fresh(NOW), *[BAD] * 19, GOOD, config=SHARE_ALONE)
    assert full.state is BreakerState.CLOSED
    assert record_all(full, BAD, config=SHARE_ALONE).state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("seconds", "enough"),
    [(0, 5), (30, 5), (60, 5), (75, 9), (90, 13), (120, 20), (150, 20), (1000, 20)],
)
def test_previous_window_is_weighted_by_its_overlap_with_the_sliding_window(seconds: int, enough: int):
    earlier = record_all(Breaker.fresh(NOW), *[BAD] * 15, config=SHARE_ALONE)
    at = NOW + seconds * SECOND
    almost = record_all(earlier, *[BAD] * (enough - 1), at=at, config=SHARE_ALONE)
    assert almost.state is BreakerState.CLOSED
    assert record_all(almost, BAD, at=at, config=SHARE_ALONE).state is BreakerState.OPEN


def test_attempt_before_the_window_never_overweights_earlier_attempts():
    earlier = record_all(Breaker.fresh(NOW), *[BAD] * 15, config=SHARE_ALONE)
    rolled = record_all(earlier, BAD, at=NOW + WINDOW, config=SHARE_ALONE)
    assert (
        record_all(rolled, *[BAD] * 3, at=NOW + WINDOW / 2, config=SHARE_ALONE).state is BreakerState.CLOSED
    )


def test_an_open_breaker_has_its_start_and_probe_time():
    breaker = make_opened()
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
    config = BreakerConfig(cool_down=first, longest_cool_down=longest)
    planned = min(first * 2 ** min(openings, 30), longest)
    cooling = compute_cool_down(openings, config, jitter)
    assert 0.8 * planned - ONE_MICROSECOND <= cooling <= 1.2 * planned + ONE_MICROSECOND


def test_jitter_moves_the_probe_time():
    assert make_opened(jitter=-1.0).probe_at == NOW + 24 * SECOND


# ---- the probe
def test_a_breaker_is_half_open_while_its_probe_is_in_flight():
    assert start_probe(make_opened()).state is BreakerState.HALF_OPEN


def test_a_good_probe_closes_it_without_history():
    later = NOW + 31 * SECOND
    assert finish(make_opened(), bad=False, at=later) == Breaker.fresh(later, openings=1)


def test_a_bad_probe_opens_it_for_longer():
    later = NOW + 31 * SECOND
    reopened = finish(make_opened(), bad=True, at=later)
    assert (reopened.state, reopened.probe_at) == (BreakerState.OPEN, later + 60 * SECOND)


def test_failed_probes_do_not_change_the_start_of_an_opening():
    breaker = make_opened()
    for minutes in range(1, 100):
        breaker = finish(breaker, bad=True, at=NOW + timedelta(minutes=20 * minutes))
    assert breaker.since == NOW


def test_bad_probes_wait_no_longer_than_the_longest_cool_down():
    breaker = make_opened()
    for _ in range(100):
        breaker = finish(breaker, bad=True, at=NOW, jitter=1.0)
    assert breaker.probe_at == NOW + 720 * SECOND


def test_a_lost_probe_allows_another_at_once():
    later = NOW + 31 * SECOND
    lost = discard_probe(start_probe(make_opened()), now=later)
    assert (lost.state, lost.probe_at, lost.since) == (BreakerState.OPEN, later, NOW)


def test_a_lost_probe_is_not_counted_as_an_opening():
    assert discard_probe(start_probe(make_opened()), now=NOW + WINDOW).openings == make_opened().openings


# ---- recovery
def test_reopening_before_recovery_lasts_longer():
    later = NOW + 31 * SECOND
    closed = finish(make_opened(), bad=False, at=later)
    assert record_all(closed, *[BAD] * 10, at=later).probe_at == later + 60 * SECOND


def test_recovery_resets_the_cool_down():
    later = NOW + 31 * SECOND
    closed = reset_openings(finish(make_opened(), bad=False, at=later))
    assert record_all(closed, *[BAD] * 10, at=later).probe_at == later + 30 * SECOND


# ---- properties
@given(ends=st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=150), jitter=st.floats(-1, 1))
def test_only_a_failure_opens_a_breaker(ends: list[tuple[bool, float]], jitter: float):
    breaker, now = Breaker.fresh(NOW), NOW
    for bad, seconds in ends:
        now += seconds * SECOND
        breaker = record_all(breaker, bad, at=now, jitter=jitter)
        if breaker.state is BreakerState.OPEN:
            assert bad
            assert breaker.probe_at is not None
            assert now < breaker.probe_at
            return
        assert breaker.consecutive < TERMS.consecutive


@given(ends=st.lists(st.booleans(), max_size=150), seconds=st.floats(0, 60))
def test_a_breaker_opens_once_its_ratio_is_reached(ends: list[bool], seconds: float):
    breaker = Breaker.fresh(NOW)
    for number, bad in enumerate(ends, start=1):
        at = NOW + seconds * SECOND * number / (len(ends) + 1)
        breaker = record_all(breaker, bad, at=at, config=SHARE_ALONE)
        failures = sum(ends[:number])
        if bad and number >= SHARE_ALONE.minimum and failures >= SHARE_ALONE.ratio * number:
            assert breaker.state is BreakerState.OPEN
            return
        assert breaker.state is BreakerState.CLOSED
