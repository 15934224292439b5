"""How much work may stand in the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.window import BATCH, FEWEST, MOST, Window


def steady(per_second: float, *, looks: int = 200, every: float = 0.02, seconds: float = 0.5) -> Window:
    """A window that has watched workers take this many deliveries a second from a queue kept full."""
    window = Window(seconds).seen(0, at=1.0)
    taken = 0.0
    for look in range(1, looks + 1):
        window = window.added(window.room)
        taken += per_second * every
        whole = min(int(taken), window.waiting)
        taken -= whole
        window = window.seen(window.waiting - whole, at=1.0 + look * every)
    return window


def test_before_anything_is_known_there_is_room_for_a_few() -> None:
    assert Window(0.5).target == FEWEST
    assert Window(0.5).room == FEWEST


@pytest.mark.parametrize("speed", [2_000, 4_000, 15_000])
def test_it_comes_to_hold_its_time_s_worth_of_what_workers_take(speed: int) -> None:
    assert steady(speed).target == pytest.approx(speed * 0.5, rel=0.1)


def test_slow_workers_still_find_the_fewest_and_fast_ones_no_more_than_the_most() -> None:
    assert steady(10).target == FEWEST
    assert steady(1_000_000, looks=2_000, seconds=10).target == MOST


def test_a_queue_that_nobody_reads_is_filled_once_and_no_more() -> None:
    window = Window(0.5).seen(0, at=1.0)
    window = window.added(window.room)
    for look in range(50):
        window = window.seen(FEWEST, at=1.1 + look)
        assert window.room == 0


def test_what_was_added_leaves_less_room() -> None:
    window = Window(0.5).seen(100, at=1.0)
    assert window.room == FEWEST - 100
    assert window.added(FEWEST).room == 0


def test_room_for_less_than_a_whole_batch_waits_for_more() -> None:
    window = Window(0.5).seen(FEWEST - BATCH + 1, at=1.0)
    assert window.room == 0
    assert window.seen(FEWEST - BATCH, at=1.1).room == BATCH
    assert window.seen(1, at=1.2).room == FEWEST - BATCH


def test_workers_that_stop_are_noticed_within_a_few_seconds() -> None:
    window = steady(10_000)
    at, waiting = window.at, window.waiting
    for look in range(1, 101):
        window = window.seen(waiting, at=at + look * 0.1)
    assert window.target == FEWEST


def test_the_first_look_and_one_at_the_same_moment_say_nothing_of_speed() -> None:
    window = Window(0.5).seen(500, at=3.0)
    assert window.per_second == 0
    assert window.added(300).seen(10, at=3.0).per_second == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50_000), st.integers(0, 5_000)), max_size=30))
def test_target_and_room_stay_within_bounds_whatever_is_seen(looks: list[tuple[float, int, int]]) -> None:
    window, at = Window(0.5), 1.0
    for passed, waiting, added in looks:
        at += passed
        window = window.seen(waiting, at=at).added(added)
        assert FEWEST <= window.target <= MOST
        assert 0 <= window.room <= window.target
