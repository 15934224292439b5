"""The in-flight limit ramps up, then adds one for each good round, and halves when overloaded."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retries.limit import INITIAL_IN_FLIGHT, InFlightLimit, lower_limit, raise_limit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LONG_AGO = NOW - timedelta(hours=1)


def after_good(limit: InFlightLimit, answers: int, *, most: int) -> InFlightLimit:
    for _ in range(answers):
        limit = raise_limit(limit, max_in_flight=most)
    return limit


def test_a_new_endpoint_starts_with_ten():
    assert InFlightLimit.start(50) == InFlightLimit(INITIAL_IN_FLIGHT, ramping=True)


@pytest.mark.parametrize("most", [1, 3, 10])
def test_a_small_maximum_starts_at_full_speed(most: int):
    assert InFlightLimit.start(most) == InFlightLimit(most, ramping=False)


def test_a_recovered_endpoint_starts_with_one():
    assert InFlightLimit.start_ramp() == InFlightLimit(1, ramping=True)


@pytest.mark.parametrize(
    ("good", "now"), [(0, 1), (1, 2), (2, 2), (3, 4), (6, 4), (7, 8), (15, 16), (31, 32)]
)
def test_the_ramp_doubles_with_every_round_of_good_answers(good: int, now: int):
    assert after_good(InFlightLimit.start_ramp(), good, most=50).now == now


def test_the_ramp_ends_at_the_maximum():
    assert after_good(InFlightLimit.start_ramp(), 63, most=50) == InFlightLimit(50, ramping=False)


def test_after_the_ramp_a_good_round_adds_one():
    settled = InFlightLimit(4, ramping=False)
    assert [after_good(settled, answers, most=50).now for answers in (3, 4, 8, 9)] == [4, 5, 5, 6]


def test_a_limit_does_not_exceed_the_maximum():
    assert after_good(InFlightLimit(8, ramping=False), 1000, most=8).now == 8


@pytest.mark.parametrize("ramping", [True, False])
def test_success_lowers_the_limit_to_a_reduced_maximum(*, ramping: bool):
    assert raise_limit(InFlightLimit(50, ramping=ramping, credit=3), max_in_flight=8) == InFlightLimit(
        8, ramping=False
    )


def test_overload_halves_the_limit():
    assert lower_limit(
        InFlightLimit(9, ramping=False, credit=5), started_at=LONG_AGO, now=NOW
    ) == InFlightLimit(4, ramping=False, lowered_at=NOW)


def test_overload_ends_the_ramp():
    assert not lower_limit(InFlightLimit(8, ramping=True), started_at=LONG_AGO, now=NOW).ramping


def test_the_limit_never_falls_below_one():
    assert lower_limit(InFlightLimit(1, ramping=False), started_at=LONG_AGO, now=NOW).now == 1


def test_attempts_in_flight_at_a_decrease_do_not_lower_it_again():
    fallen = lower_limit(InFlightLimit(16, ramping=False), started_at=LONG_AGO, now=NOW)
    assert lower_limit(fallen, started_at=NOW, now=NOW + SECOND) == fallen


def test_an_attempt_started_after_a_fall_lowers_the_limit_again():
    fallen = lower_limit(InFlightLimit(16, ramping=False), started_at=LONG_AGO, now=NOW)
    assert lower_limit(fallen, started_at=NOW + SECOND, now=NOW + 2 * SECOND).now == 4


def test_growth_keeps_the_time_of_the_last_fall():
    fallen = lower_limit(InFlightLimit(4, ramping=False), started_at=LONG_AGO, now=NOW)
    assert after_good(fallen, 2, most=50) == InFlightLimit(3, ramping=False, lowered_at=NOW)


@given(
    most=st.integers(1, 100),
    start=st.integers(1, 100),
    ramping=st.booleans(),
    steps=st.lists(st.booleans(), max_size=200),
)
def test_a_limit_stays_between_one_and_the_maximum(
    *, most: int, start: int, ramping: bool, steps: list[bool]
):
    limit = InFlightLimit(min(start, most), ramping=ramping)
    for number, good in enumerate(steps):
        at = NOW + number * SECOND
        limit = raise_limit(limit, max_in_flight=most) if good else lower_limit(limit, started_at=at, now=at)
        assert 1 <= limit.now <= most


@given(most=st.integers(1, 50), start=st.integers(1, 50), ramping=st.booleans())
def test_good_answers_bring_any_limit_to_the_maximum(*, most: int, start: int, ramping: bool):
    limit = InFlightLimit(min(start, most), ramping=ramping)
    settled = after_good(limit, most * most + 1, most=most)
    assert (settled.now, settled.ramping) == (most, False)
