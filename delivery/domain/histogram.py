"""How long things took, counted in slots: small to keep, quick to add up, right to within a slot. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FIRST_US: Final = 1_000
_GROWTH: Final = 1.2
_LAST_US: Final = 60_000_000


def _build_bounds() -> tuple[int, ...]:
    bounds = [_FIRST_US]
    while bounds[-1] < _LAST_US:
        bounds.append(round(bounds[-1] * _GROWTH))
    return tuple(bounds)


# In microseconds: slot 0 is below the first, slot n from the nth on (as PostgreSQL's width_bucket counts).
SLOT_BOUNDS_US: Final = _build_bounds()

Named = TypeVar("Named", int, str)


def merge_counts(many: Iterable[Mapping[Named, int]]) -> dict[Named, int]:
    """Several counts as one: of slots, or of anything else that has a name."""
    whole: dict[Named, int] = {}
    for counts in many:
        for name, count in counts.items():
            whole[name] = whole.get(name, 0) + count
    return whole


def estimate_quantile(slots: Mapping[int, int], fraction: float) -> timedelta | None:
    """The duration below which this share (from 0 to 1) lies; None of nothing."""
    total = sum(slots.values())
    if not total:
        return None
    rank, seen = fraction * total, 0
    for slot in sorted(slots):
        count = slots[slot]
        if seen + count >= rank and count:
            low, high = get_slot_bounds(slot)
            return low + (high - low) * ((rank - seen) / count)
        seen += count
    return get_slot_bounds(max(slots))[1]


def get_slot_bounds(slot: int) -> tuple[timedelta, timedelta]:
    """From where to where a slot reaches; the last one has no end, and is given its beginning for one."""
    low = SLOT_BOUNDS_US[slot - 1] if slot else 0
    high = SLOT_BOUNDS_US[min(slot, len(SLOT_BOUNDS_US) - 1)]
    return timedelta(microseconds=low), timedelta(microseconds=high)
