"""Latency histograms with exponential slots: small, mergeable, accurate to a slot. Pure."""

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


def merge_counts(many_counts: Iterable[Mapping[Named, int]]) -> dict[Named, int]:
    """Add up several counts, of slots or of names."""
    total: dict[Named, int] = {}
    for counts in many_counts:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total


def estimate_quantile(slots: Mapping[int, int], fraction: float) -> timedelta | None:
    """The quantile at this fraction (0 to 1), interpolated in its slot; None without counts."""
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
    """The bounds of a slot; the last has no upper bound, so its lower one is returned twice."""
    low = SLOT_BOUNDS_US[slot - 1] if slot else 0
    high = SLOT_BOUNDS_US[min(slot, len(SLOT_BOUNDS_US) - 1)]
    return timedelta(microseconds=low), timedelta(microseconds=high)
