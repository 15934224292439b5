"""The queue window bounds how much work waits in the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.relay.window import CLAIM_BATCH_SIZE, MAX_TARGET, MIN_TARGET, QueueWindow


def observe_speed(
    per_second: float, *, looks: int = 200, every: float = 0.02, seconds: float = 0.5
) -> QueueWindow:
    """Let workers take this many deliveries a second from a full queue; returns the window after that."""
    window = QueueWindow(seconds).observe_waiting(0, now=1.0)
    taken = 0.0
    for look in range(1, looks + 1):
        window = window.record_queued(window.room)
        taken += per_second * every
        whole = min(int(taken), window.waiting)
        taken -= whole
        window = window.observe_waiting(window.waiting - whole, now=1.0 + look * every)
    return window


def test_a_new_window_has_the_minimum_target() -> None:
    assert QueueWindow(0.5).target == MIN_TARGET
    assert QueueWindow(0.5).room == MIN_TARGET


@pytest.mark.parametrize("speed", [2_000, 4_000, 15_000])
def test_window_converges_to_the_target_duration_of_work(speed: int) -> None:
    assert observe_speed(speed).target == pytest.approx(speed * 0.5, rel=0.1)


def test_window_stays_between_minimum_and_maximum() -> None:
    assert observe_speed(10).target == MIN_TARGET
    assert observe_speed(1_000_000, looks=2_000, seconds=10).target == MAX_TARGET


def test_a_queue_that_nobody_reads_is_filled_once() -> None:
    window = QueueWindow(0.5).observe_waiting(0, now=1.0)
    window = window.record_queued(window.room)
    for look in range(50):
        window = window.observe_waiting(MIN_TARGET, now=1.1 + look)
        assert window.room == 0


def test_queued_deliveries_leave_less_room() -> None:
    window = QueueWindow(0.5).observe_waiting(100, now=1.0)
    assert window.room == MIN_TARGET - 100
    assert window.record_queued(MIN_TARGET).room == 0


def test_room_is_given_in_whole_batches() -> None:
    window = QueueWindow(0.5).observe_waiting(MIN_TARGET - CLAIM_BATCH_SIZE + 1, now=1.0)
    assert window.room == 0
    assert window.observe_waiting(MIN_TARGET - CLAIM_BATCH_SIZE, now=1.1).room == CLAIM_BATCH_SIZE
    assert window.observe_waiting(1, now=1.2).room == MIN_TARGET - CLAIM_BATCH_SIZE


def test_the_target_falls_when_workers_stop() -> None:
    window = observe_speed(10_000)
    at, waiting = window.observed_at, window.waiting
    for look in range(1, 101):
        window = window.observe_waiting(waiting, now=at + look * 0.1)
    assert window.target == MIN_TARGET


def test_first_and_simultaneous_samples_do_not_change_the_speed() -> None:
    window = QueueWindow(0.5).observe_waiting(500, now=3.0)
    assert window.per_second == 0
    assert window.record_queued(300).observe_waiting(10, now=3.0).per_second == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50_000), st.integers(0, 5_000)), max_size=30))
def test_target_and_room_stay_within_bounds(looks: list[tuple[float, int, int]]) -> None:
    window, at = QueueWindow(0.5), 1.0
    for passed, waiting, added in looks:
        at += passed
        window = window.observe_waiting(waiting, now=at).record_queued(added)
        assert MIN_TARGET <= window.target <= MAX_TARGET
        assert 0 <= window.room <= window.target
