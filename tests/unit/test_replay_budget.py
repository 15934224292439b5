"""The replay budget limits what replays may use beside live work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.relay.replay_budget import (
    LIVE_ACTIVITY_SECONDS,
    MAX_CREDIT,
    MIN_CONCURRENT_REPLAYS,
    ReplayBudget,
)

SHARES = st.floats(0.01, 0.95)
# For each round: the claimed live deliveries, and the room for replays.
ROUNDS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=60)


@given(SHARES, ROUNDS)
def test_replays_get_at_most_their_share_while_live_work_waits(
    share: float, rounds: list[tuple[int, int]]
) -> None:
    budget = ReplayBudget(share)
    live = replays = 0
    for at, (taken, room) in enumerate(rounds):
        budget = budget.record_live(taken, is_live_waiting=True, now=at)
        allowed = budget.compute_allowed(room)
        assert 0 <= allowed <= room
        budget = budget.spend_credit(allowed)
        live, replays = live + taken, replays + allowed
        assert replays <= (live + replays) * share + 1e-6


@given(st.floats(0.01, 0.8))
def test_replays_get_nearly_their_share_while_live_work_waits(share: float) -> None:
    budget = ReplayBudget(share)
    live = replays = 0
    for at in range(400):
        budget = budget.record_live(10, is_live_waiting=True, now=at)
        allowed = budget.compute_allowed(1_000)
        budget = budget.spend_credit(allowed)
        live, replays = live + 10, replays + allowed
    assert replays >= (live + replays) * share - MAX_CREDIT - 1


@given(SHARES, st.integers(0, 1_000))
def test_replays_use_all_room_when_no_live_work_waits(share: float, room: int) -> None:
    assert ReplayBudget(share).record_live(7, is_live_waiting=False, now=1.0).compute_allowed(room) == room


@given(SHARES, st.integers(0, 500))
def test_unused_credit_is_bounded(share: float, taken: int) -> None:
    budget = ReplayBudget(share)
    for at in range(200):
        budget = budget.record_live(taken, is_live_waiting=True, now=at)
    assert budget.compute_allowed(1_000_000) <= MAX_CREDIT


def test_replay_credit_expires_when_nothing_waits() -> None:
    budget = (
        ReplayBudget(0.5)
        .record_live(50, is_live_waiting=True, now=0.0)
        .record_live(0, is_live_waiting=False, now=1.0)
    )
    assert budget.record_live(0, is_live_waiting=True, now=2.0).compute_allowed(10) == 0


def test_replay_concurrency_is_limited_while_live_work_is_recent() -> None:
    budget = ReplayBudget(0.2).record_live(1, is_live_waiting=False, now=10.0)
    assert budget.is_live_active(10.0 + LIVE_ACTIVITY_SECONDS / 2)
    assert not budget.is_live_active(10.0 + LIVE_ACTIVITY_SECONDS)
    assert not ReplayBudget(0.2).is_live_active(0.0)
    assert (
        ReplayBudget(0.2).compute_max_concurrent(400.0),
        ReplayBudget(0.2).compute_max_concurrent(0.0),
    ) == (80, MIN_CONCURRENT_REPLAYS)


def test_full_share_never_limits_replays() -> None:
    assert ReplayBudget(1.0).record_live(1, is_live_waiting=True, now=0.0).compute_allowed(50) == 50
