"""How long the relay pauses between two claims. Pure; times are seconds."""

from __future__ import annotations

# The more deliveries the last claim took, the longer the pause, so that a batch gathers.
MIN_GAP_SECONDS, MAX_BUSY_GAP_SECONDS = 0.005, 0.05
GAP_PER_DELIVERY_SECONDS = 0.002
# After claims of hundreds with nothing left over, a longer pause saves claims and messages.
MAX_GAP_SECONDS, BULK_GAP_PER_DELIVERY_SECONDS = 0.1, 0.0005
IDLE_GAP_SECONDS, FULL_GAP_SECONDS = 0.02, 0.05


def compute_gap(taken: int, *, has_room: bool, has_more: bool) -> float:
    """Return the pause after a claim that took this many deliveries.

    `has_room`: the queue had room for them; `has_more`: further deliveries were due and did not fit.
    """
    if not has_room:
        return FULL_GAP_SECONDS
    if not taken:
        return IDLE_GAP_SECONDS
    gap = min(MAX_BUSY_GAP_SECONDS, max(MIN_GAP_SECONDS, taken * GAP_PER_DELIVERY_SECONDS))
    return gap if has_more else max(gap, min(MAX_GAP_SECONDS, taken * BULK_GAP_PER_DELIVERY_SECONDS))
