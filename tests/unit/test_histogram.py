"""Durations counted in slots: what is read off them is right to within a slot."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.histogram import SLOT_BOUNDS_US, estimate_quantile, get_slot_bounds, merge_counts

DURATIONS = st.integers(0, 120_000_000)
SHARES = st.floats(0, 1)
SLOTS = st.dictionaries(st.integers(0, len(SLOT_BOUNDS_US)), st.integers(0, 1_000))


def slot_of(took_us: int) -> int:
    """Where PostgreSQL's width_bucket puts it: at the number of bounds that are not above it."""
    return bisect_right(SLOT_BOUNDS_US, took_us)


def counted(durations: list[int]) -> Counter[int]:
    return Counter(map(slot_of, durations))


def test_slots_reach_from_a_millisecond_to_a_minute():
    assert SLOT_BOUNDS_US[0] == 1_000
    assert SLOT_BOUNDS_US[-2] < 60_000_000 <= SLOT_BOUNDS_US[-1]
    assert all(low < high for low, high in pairwise(SLOT_BOUNDS_US))
    assert len(SLOT_BOUNDS_US) < 70


@given(st.lists(DURATIONS, min_size=1), SHARES)
def test_a_quantile_lies_in_the_slot_of_the_exact_one(durations: list[int], which: float):
    exact = sorted(durations)[max(0, math.ceil(which * len(durations)) - 1)]
    low, high = get_slot_bounds(slot_of(exact))
    found = estimate_quantile(counted(durations), which)
    assert found is not None
    # A rank that is a whole number is where two slots meet, and floats come to either side of it.
    assert low - timedelta(microseconds=1) <= found <= high


@given(st.lists(DURATIONS, min_size=1), SHARES, SHARES)
def test_a_larger_share_takes_no_less_time(durations: list[int], one: float, other: float):
    slots = counted(durations)
    small, large = estimate_quantile(slots, min(one, other)), estimate_quantile(slots, max(one, other))
    assert small is not None
    assert large is not None
    assert small <= large


@given(SLOTS)
def test_quantiles_of_what_took_any_time_at_all_are_durations_that_can_be(slots: dict[int, int]):
    for which in (0, 0.5, 0.95, 0.99, 1):
        found = estimate_quantile(slots, which)
        if not any(slots.values()):
            assert found is None
        else:
            assert found is not None
            assert timedelta(0) <= found <= timedelta(microseconds=SLOT_BOUNDS_US[-1])


@given(st.lists(st.lists(DURATIONS)))
def test_merged_histograms_equal_one_histogram(groups: list[list[int]]):
    assert merge_counts(map(counted, groups)) == counted([one for group in groups for one in group])


def test_nothing_has_no_quantiles():
    assert estimate_quantile({}, 0.5) is None


def test_what_takes_longer_than_the_last_bound_is_told_as_that():
    assert estimate_quantile({len(SLOT_BOUNDS_US): 3}, 0.5) == timedelta(microseconds=SLOT_BOUNDS_US[-1])
