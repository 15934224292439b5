"""What replays may take beside live work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.share import FEWEST_AT_ONCE, LATELY_SECONDS, MOST_CREDIT, Share

SHARES = st.floats(0.01, 0.95)
# Of each round: how many live deliveries were taken, and how many replays there was room for.
ROUNDS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=60)


@given(SHARES, ROUNDS)
def test_while_live_work_waits_replays_get_no_more_than_their_share(
    share: float, rounds: list[tuple[int, int]]
) -> None:
    now = Share(share)
    live = replays = 0
    for at, (taken, room) in enumerate(rounds):
        now = now.after_live(taken, waits=True, at=at)
        allowed = now.allowed(room)
        assert 0 <= allowed <= room
        now = now.used(allowed)
        live, replays = live + taken, replays + allowed
        assert replays <= (live + replays) * share + 1e-6


@given(st.floats(0.01, 0.8))
def test_while_live_work_waits_replays_get_nearly_their_share(share: float) -> None:
    now = Share(share)
    live = replays = 0
    for at in range(400):
        now = now.after_live(10, waits=True, at=at)
        allowed = now.allowed(1_000)
        now = now.used(allowed)
        live, replays = live + 10, replays + allowed
    assert replays >= (live + replays) * share - MOST_CREDIT - 1


@given(SHARES, st.integers(0, 1_000))
def test_when_no_live_work_waits_replays_take_what_there_is_room_for(share: float, room: int) -> None:
    assert Share(share).after_live(7, waits=False, at=1.0).allowed(room) == room


@given(SHARES, st.integers(0, 500))
def test_what_was_not_taken_is_not_saved_up_without_bound(share: float, taken: int) -> None:
    now = Share(share)
    for at in range(200):
        now = now.after_live(taken, waits=True, at=at)
    assert now.allowed(1_000_000) <= MOST_CREDIT


def test_credit_is_gone_once_nothing_waits() -> None:
    now = Share(0.5).after_live(50, waits=True, at=0.0).after_live(0, waits=False, at=1.0)
    assert now.after_live(0, waits=True, at=2.0).allowed(10) == 0


def test_the_queue_holds_few_replays_while_live_work_came_lately_and_many_after() -> None:
    now = Share(0.2).after_live(1, waits=False, at=10.0)
    assert now.is_beside_live(10.0 + LATELY_SECONDS / 2)
    assert not now.is_beside_live(10.0 + LATELY_SECONDS)
    assert not Share(0.2).is_beside_live(0.0)
    assert (Share(0.2).at_once(400.0), Share(0.2).at_once(0.0)) == (80, FEWEST_AT_ONCE)


def test_a_share_of_everything_holds_nothing_back() -> None:
    assert Share(1.0).after_live(1, waits=True, at=0.0).allowed(50) == 50
