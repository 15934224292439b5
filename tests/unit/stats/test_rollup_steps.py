"""The next step of the rollup, until everything is counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from delivery.ledger.stats.rollup import RollupProgress
from delivery.services.stats.rollup import (
    MINUTE_RETENTION,
    SEEN_AFTER,
    SETTLED_AFTER,
    compute_minutes_end,
    compute_start,
    is_whole_hour,
    plan_next_step,
)
from delivery.services.stats.series import floor_to_interval

if TYPE_CHECKING:
    from delivery.services.stats.rollup import RollupStep

A_MINUTE, AN_HOUR = timedelta(minutes=1), timedelta(hours=1)
NOW = datetime(2030, 3, 1, 12, 34, 56, tzinfo=UTC)
KEPT = timedelta(hours=5)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds
LATER = st.timedeltas(timedelta(0), timedelta(hours=7))


def begun(now: datetime) -> RollupProgress:
    at = compute_start(now)
    return RollupProgress(at, at, at, at)


def steps(
    at: RollupProgress, now: datetime, kept: timedelta = KEPT
) -> tuple[list[RollupStep], RollupProgress]:
    """All there is to count at this moment, and how far that comes."""
    taken: list[RollupStep] = []
    while (step := plan_next_step(at, now=now, retention=kept)) is not None:
        assert len(taken) < 1_000
        taken.append(step)
        at = step.progress
    return taken, at


@given(NOWS, LATER)
def test_rollup_eventually_covers_all_settled_minutes(began: datetime, later: timedelta):
    _, at = steps(begun(began), began)
    now = began + later
    _, at = steps(at, now)
    assert at.seen_until == max(floor_to_interval(now - SEEN_AFTER, A_MINUTE), compute_start(began))
    assert at.settled_until == max(floor_to_interval(now - SETTLED_AFTER, A_MINUTE), compute_start(began))
    assert at.summed_until == floor_to_interval(at.settled_until, AN_HOUR)
    assert at.back_to <= began - KEPT < at.back_to + AN_HOUR
    assert is_whole_hour(at.back_to)


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
def test_hours_follow_settled_minutes_which_follow_seen_minutes(began: datetime, later: timedelta):
    for step in steps(begun(began), began + later)[0]:
        at = step.progress
        assert at.back_to <= at.summed_until <= at.settled_until <= at.seen_until


@given(NOWS, LATER)
def test_every_minute_is_looked_at_twice_and_older_ones_once(began: datetime, later: timedelta):
    taken, at = steps(begun(began), began + later)
    looks: Counter[datetime] = Counter()
    for step in taken:
        since, until = step.minutes or (at.back_to, at.back_to)
        looks.update(since + A_MINUTE * n for n in range((until - since) // A_MINUTE))
    assert len(looks) == (at.seen_until - at.back_to) // A_MINUTE
    for minute, count in looks.items():
        assert count == (2 if compute_start(began) <= minute < at.settled_until else 1)


@given(NOWS, LATER)
def test_every_hour_is_added_up_once_and_when_all_of_it_is_settled(began: datetime, later: timedelta):
    taken, last = steps(begun(began), began + later)
    for step in taken:
        if step.hour is not None:
            assert step.progress.back_to <= step.hour
            assert step.hour + AN_HOUR <= step.progress.settled_until
    hours = sorted(step.hour for step in taken if step.hour is not None)
    assert hours == [last.back_to + AN_HOUR * n for n in range((last.summed_until - last.back_to) // AN_HOUR)]


@given(NOWS, LATER)
def test_no_step_is_larger_than_its_bound(began: datetime, later: timedelta):
    for step in steps(begun(began), began + later)[0]:
        assert step.minutes or step.hour
        if step.minutes is not None:
            since, until = step.minutes
            assert since < until <= since + timedelta(minutes=10)


@given(NOWS, LATER)
def test_minutes_that_no_hour_has_yet_are_not_forgotten(began: datetime, later: timedelta):
    now = began + later
    for step in steps(begun(began), now)[0]:
        at = step.progress
        end = compute_minutes_end(at, now=now)
        assert end <= now - MINUTE_RETENTION
        assert end <= at.summed_until
        # Of the hour that is being counted backwards none may go.
        assert is_whole_hour(at.back_to) or end <= at.back_to


@given(NOWS)
def test_what_counting_begins_with_is_looked_at_again_later(now: datetime):
    assert now - compute_start(now) >= SETTLED_AFTER


def test_the_newest_minutes_come_before_everything_else():
    step = plan_next_step(begun(NOW), now=NOW, retention=KEPT)
    assert step is not None
    assert step.progress.seen_until > compute_start(NOW)


def test_history_is_counted_backwards_a_piece_of_an_hour_at_a_time():
    back = [step for step in steps(begun(NOW), NOW)[0] if step.progress.back_to < compute_start(NOW)]
    pieces = [step.minutes for step in back]
    begin, piece = compute_start(NOW), timedelta(minutes=10)
    assert pieces == [(begin - piece * n, begin - piece * (n - 1)) for n in range(1, len(back) + 1)]
    assert [step.hour for step in back[:6]] == [None] * 5 + [begin - AN_HOUR]


def test_there_is_nothing_to_do_until_the_next_minute_is_over():
    _, at = steps(begun(NOW), NOW)
    assert plan_next_step(at, now=NOW + timedelta(seconds=3), retention=KEPT) is None
    assert plan_next_step(at, now=NOW + A_MINUTE, retention=KEPT) is not None
