"""What is counted next, and that it comes to an end with everything counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from delivery.figures.rolling import SEEN_AFTER, SETTLED_AFTER, begin_at, next_step
from delivery.figures.spans import floor
from delivery.ledger.figures import HOUR, MINUTE, Progress

if TYPE_CHECKING:
    from delivery.figures.rolling import Step

A_MINUTE, AN_HOUR = timedelta(minutes=1), timedelta(hours=1)
NOW = datetime(2030, 3, 1, 12, 34, 56, tzinfo=UTC)
KEPT = timedelta(hours=5)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
LATER = st.timedeltas(timedelta(0), timedelta(hours=7))


def begun(now: datetime) -> Progress:
    at = begin_at(now)
    return Progress(at, at, at, at)


def steps(at: Progress, now: datetime, kept: timedelta = KEPT) -> tuple[list[Step], Progress]:
    """All there is to count at this moment, and how far that comes."""
    taken: list[Step] = []
    while (step := next_step(at, now=now, kept=kept)) is not None:
        assert len(taken) < 1_000
        taken.append(step)
        at = step.progress
    return taken, at


@given(NOWS, LATER)
def test_in_the_end_everything_is_counted_that_can_be(began: datetime, later: timedelta):
    _, at = steps(begun(began), began)
    now = began + later
    _, at = steps(at, now)
    assert at.seen_until == max(floor(now - SEEN_AFTER, A_MINUTE), begin_at(began))
    assert at.settled_until == max(floor(now - SETTLED_AFTER, A_MINUTE), begin_at(began))
    assert at.summed_until == floor(at.settled_until, AN_HOUR)
    assert at.back_to <= began - KEPT < at.back_to + AN_HOUR


@given(NOWS, LATER)
def test_a_step_never_goes_back_on_what_was_counted(began: datetime, later: timedelta):
    at = begun(began)
    for step in steps(at, began + later)[0]:
        to = step.progress
        assert to.seen_until >= at.seen_until
        assert to.settled_until >= at.settled_until
        assert to.summed_until >= at.summed_until
        assert to.back_to <= at.back_to
        assert to != at
        at = to


@given(NOWS, LATER)
def test_hours_follow_settled_minutes_and_those_follow_seen_ones(began: datetime, later: timedelta):
    for step in steps(begun(began), began + later)[0]:
        at = step.progress
        assert at.back_to <= at.summed_until <= at.settled_until <= at.seen_until


@given(NOWS, LATER)
def test_every_minute_is_looked_at_twice_and_summed_up_once(began: datetime, later: timedelta):
    taken, at = steps(begun(began), began + later)
    first, begin = at.settled_until, begin_at(began)
    looks: dict[datetime, int] = {}
    for step in taken:
        if step.width == MINUTE:
            minute = step.since
            while minute < step.until:
                looks[minute] = looks.get(minute, 0) + 1
                minute += A_MINUTE
    assert all(count == (2 if minute < first else 1) for minute, count in looks.items())
    assert len(looks) == (at.seen_until - begin) // A_MINUTE
    summed = [step.since for step in taken if step.summed]
    assert summed == [begin + AN_HOUR * n for n in range((at.summed_until - begin) // AN_HOUR)]


@given(NOWS, LATER)
def test_no_step_is_larger_than_its_bound(began: datetime, later: timedelta):
    for step in steps(begun(began), began + later)[0]:
        assert (
            timedelta(0)
            < step.until - step.since
            <= (timedelta(minutes=10) if step.width == MINUTE else AN_HOUR)
        )


@given(NOWS)
def test_what_counting_begins_with_is_looked_at_again_later(now: datetime):
    assert now - begin_at(now) >= SETTLED_AFTER


def test_the_newest_minutes_come_before_everything_else():
    step = next_step(begun(NOW), now=NOW, kept=KEPT)
    assert step is not None
    assert step.width == MINUTE
    assert step.progress.seen_until > begin_at(NOW)


def test_history_is_counted_backwards_an_hour_at_a_time():
    at = replace(begun(NOW), seen_until=floor(NOW, A_MINUTE) - A_MINUTE)
    back = [step for step in steps(at, NOW)[0] if step.width == HOUR and not step.summed]
    begin = begin_at(NOW)
    assert [step.since for step in back] == [begin - AN_HOUR * n for n in range(1, len(back) + 1)]
    assert back[-1].since <= NOW - KEPT


def test_there_is_nothing_to_do_until_the_next_minute_is_over():
    _, at = steps(begun(NOW), NOW)
    assert next_step(at, now=NOW + timedelta(seconds=3), kept=KEPT) is None
    assert next_step(at, now=NOW + A_MINUTE, kept=KEPT) is not None
