"""Schedules say how long to wait before each attempt, with a jitter of a fifth."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retries.backoff import DEFAULT_SCHEDULE, MAX_ATTEMPTS, MAX_DELAY, Schedule, delay_before, parse_schedule

HOUR = 3600
ONE_MICROSECOND = timedelta(microseconds=1)
SECONDS = st.integers(0, 7 * 24 * HOUR) | st.floats(0, 7 * 24 * HOUR)
SCHEDULES = st.lists(SECONDS, max_size=MAX_ATTEMPTS - 1).map(lambda later: parse_schedule([0, *later]))


def test_the_default_schedule_is_that_of_standard_webhooks():
    delays = [delay.total_seconds() for delay in DEFAULT_SCHEDULE.delays]
    assert delays == [0, 5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]


def test_the_default_schedule_gives_ten_attempts():
    assert len(DEFAULT_SCHEDULE) == 10


def test_a_schedule_is_read_from_seconds():
    assert parse_schedule([0, 2.5, 60]).delays == (
        timedelta(0),
        timedelta(seconds=2.5),
        timedelta(minutes=1),
    )


def test_one_entry_means_one_attempt():
    assert len(parse_schedule([0])) == 1


@pytest.mark.parametrize("entries", [[], [0] * (MAX_ATTEMPTS + 1)])
def test_a_schedule_has_one_to_thirty_entries(entries: list[object]):
    with pytest.raises(ValueError, match="1 to 30 entries"):
        parse_schedule(entries)


@pytest.mark.parametrize(
    "entry",
    [
        -1,
        -0.001,
        7 * 24 * HOUR + 1,
        float("nan"),
        float("inf"),
        float("-inf"),
        10**400,
        "5",
        None,
        True,
        [5],
    ],
)
def test_an_invalid_entry_is_named_by_its_position(entry: object):
    with pytest.raises(ValueError, match="Entry 2 "):
        parse_schedule([0, entry])


def test_a_schedule_that_delays_the_first_attempt_is_refused():
    with pytest.raises(ValueError, match="begins with 0"):
        parse_schedule([5, 300])


def test_a_schedule_made_from_durations_keeps_the_same_rules():
    with pytest.raises(ValueError, match="Entry 2 "):
        Schedule((timedelta(0), timedelta(days=8)))


def test_first_attempt_is_immediate_regardless_of_jitter():
    assert delay_before(0, DEFAULT_SCHEDULE, 1.0) == timedelta(0)


def test_no_jitter_gives_the_schedules_own_delay():
    assert delay_before(2, DEFAULT_SCHEDULE, 0.0) == timedelta(minutes=5)


@pytest.mark.parametrize(("jitter", "seconds"), [(-1.0, 240), (-0.5, 270), (0.5, 330), (1.0, 360)])
def test_full_jitter_moves_a_delay_by_a_fifth(jitter: float, seconds: float):
    assert delay_before(2, DEFAULT_SCHEDULE, jitter) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("jitter", "seconds"), [(-7.0, 240), (float("inf"), 360)])
def test_out_of_range_jitter_is_clamped(jitter: float, seconds: float):
    assert delay_before(2, DEFAULT_SCHEDULE, jitter) == timedelta(seconds=seconds)


def test_jitter_does_not_exceed_the_longest_delay():
    assert delay_before(1, Schedule((timedelta(0), MAX_DELAY)), 1.0) == MAX_DELAY


@pytest.mark.parametrize("step", [10, 11, 1_000_000])
def test_a_spent_schedule_has_no_delay(step: int):
    assert delay_before(step, DEFAULT_SCHEDULE, 0.0) is None


def test_a_negative_step_is_a_value_error():
    with pytest.raises(ValueError, match="counted from 0"):
        delay_before(-1, DEFAULT_SCHEDULE, 0.0)


@given(schedule=SCHEDULES, step=st.integers(0, MAX_ATTEMPTS - 1), jitter=st.floats(-1, 1))
def test_a_delay_stays_within_a_fifth_of_the_schedules(schedule: Schedule, step: int, jitter: float):
    delay = delay_before(step, schedule, jitter)
    if step >= len(schedule):
        assert delay is None
    else:
        assert delay is not None
        planned = schedule.delays[step]
        assert planned * 0.8 - ONE_MICROSECOND <= delay <= planned * 1.2 + ONE_MICROSECOND


@given(schedule=SCHEDULES, step=st.integers(0, MAX_ATTEMPTS - 1), jitter=st.floats())
def test_a_delay_is_never_negative_nor_beyond_the_longest(schedule: Schedule, step: int, jitter: float):
    delay = delay_before(step, schedule, jitter)
    assert delay is None or timedelta(0) <= delay <= MAX_DELAY


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
def test_any_list_is_a_schedule_or_a_value_error(entries: list[object]):
    try:
        schedule = parse_schedule(entries)
    except ValueError:
        return
    assert len(schedule) == len(entries)
