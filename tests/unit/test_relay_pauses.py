"""The gap between two claims: hardly any when idle, longer under load, always short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.relay.gap import (
    FULL_GAP_SECONDS,
    IDLE_GAP_SECONDS,
    MAX_BUSY_GAP_SECONDS,
    MAX_GAP_SECONDS,
    MIN_GAP_SECONDS,
    compute_gap,
)

COUNTS = st.integers(1, 10_000)


@given(COUNTS, st.booleans())
def test_the_gap_between_claims_is_bounded(taken: int, has_more_due: bool) -> None:  # noqa: FBT001  drawn
    assert MIN_GAP_SECONDS <= compute_gap(taken, has_room=True, has_more=has_more_due) <= MAX_GAP_SECONDS


@given(COUNTS)
def test_deferred_work_does_not_wait_for_batching(taken: int) -> None:
    assert compute_gap(taken, has_room=True, has_more=True) <= MAX_BUSY_GAP_SECONDS
    assert compute_gap(taken, has_room=True, has_more=True) <= compute_gap(
        taken, has_room=True, has_more=False
    )


def test_a_single_delivery_does_not_delay_the_next() -> None:
    assert compute_gap(1, has_room=True, has_more=False) == MIN_GAP_SECONDS


@pytest.mark.parametrize("has_more_due", [True, False])
def test_without_room_or_work_the_gap_is_fixed(has_more_due: bool) -> None:  # noqa: FBT001  a case
    assert compute_gap(0, has_room=True, has_more=has_more_due) == IDLE_GAP_SECONDS
    assert compute_gap(0, has_room=False, has_more=has_more_due) == FULL_GAP_SECONDS
