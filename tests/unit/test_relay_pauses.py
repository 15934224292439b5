"""How long the relay waits between two claims: hardly when idle, longer under load, never long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.relay import (
    GAP_WITHOUT_ROOM,
    GAP_WITHOUT_WORK,
    LONG_GAP,
    LONGEST_GAP,
    SHORTEST_GAP,
    gap_after,
)

COUNTS = st.integers(1, 10_000)


@given(COUNTS, st.booleans())
def test_a_claim_follows_the_last_one_soon(taken: int, more: bool) -> None:  # noqa: FBT001  drawn
    assert SHORTEST_GAP <= gap_after(taken, room=True, more=more) <= LONGEST_GAP


@given(COUNTS)
def test_what_had_to_stay_behind_is_not_kept_waiting_for_company(taken: int) -> None:
    assert gap_after(taken, room=True, more=True) <= LONG_GAP
    assert gap_after(taken, room=True, more=True) <= gap_after(taken, room=True, more=False)


def test_one_delivery_alone_does_not_slow_the_next() -> None:
    assert gap_after(1, room=True, more=False) == SHORTEST_GAP


@pytest.mark.parametrize("more", [True, False])
def test_without_room_or_work_it_looks_again_a_little_later(more: bool) -> None:  # noqa: FBT001  a case
    assert gap_after(0, room=True, more=more) == GAP_WITHOUT_WORK
    assert gap_after(0, room=False, more=more) == GAP_WITHOUT_ROOM
