from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.event_patterns import (
    MAX_EVENT_TYPE_LENGTH,
    check_event_type,
    check_pattern,
    matches_any_pattern,
)

segments = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8)
types = st.lists(segments, min_size=1, max_size=6).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "event_type", "asked_for"),
    [
        ("*", "order.created", True),
        ("*", "order", True),
        ("order.created", "order.created", True),
        ("order.created", "order.created.twice", False),
        ("order.created", "order.create", False),
        ("order.created", "Order.created", False),
        ("order.*", "order.created", True),
        ("order.*", "order.item.added", True),
        ("order.*", "order", False),
        ("order.*", "orders.created", False),
        ("order.*", "order_x.created", False),
        ("order.item.*", "order.created", False),
    ],
)
def test_a_pattern_asks_for_what_it_says(pattern: str, event_type: str, asked_for: bool):  # noqa: FBT001  a table
    assert matches_any_pattern([pattern], event_type) is asked_for


def test_one_pattern_of_several_is_enough():
    assert matches_any_pattern(["invoice.paid", "order.*"], "order.created")
    assert not matches_any_pattern(["invoice.paid", "refund.*"], "order.created")


def test_no_pattern_asks_for_nothing():
    assert not matches_any_pattern([], "order.created")


@given(types)
def test_a_type_is_asked_for_by_all_itself_and_each_prefix(event_type: str):
    parts = event_type.split(".")
    prefixes = [".".join(parts[:n]) + ".*" for n in range(1, len(parts))]
    for pattern in ["*", event_type, *prefixes]:
        assert check_pattern(pattern) == pattern
        assert matches_any_pattern([pattern], event_type)


@given(types, types)
def test_a_prefix_means_what_a_regular_expression_would(pattern: str, event_type: str):
    told = re.fullmatch(re.escape(pattern) + r"\..+", event_type) is not None
    assert matches_any_pattern([pattern + ".*"], event_type) is told


@given(st.text())
def test_a_type_that_passes_is_made_of_the_permitted_letters(text: str):
    try:
        passed = check_event_type(text)
    except ValueError:
        return
    assert passed == text
    assert re.fullmatch(r"[a-zA-Z0-9_.]{1,128}", text)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "a-b", "ä", "a\n", "a\0", "٣", "*", "a.*"]
)
def test_what_is_no_type_is_refused(text: str):
    with pytest.raises(ValueError, match="event type"):
        check_event_type(text)


@pytest.mark.parametrize(
    "text", ["", ".*", "**", "*.*", "*.a", "a*", "a.b*", "a.*.b", "a..*", "a.*\n", "a.*.*"]
)
def test_what_is_no_pattern_is_refused(text: str):
    with pytest.raises(ValueError, match="filter"):
        check_pattern(text)


def test_a_type_is_not_longer_than_the_limit():
    assert check_event_type("a" * MAX_EVENT_TYPE_LENGTH)
    with pytest.raises(ValueError, match="128"):
        check_event_type("a" * (MAX_EVENT_TYPE_LENGTH + 1))
