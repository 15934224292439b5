from __future__ import annotations

import pytest

from delivery.conditions import LONGEST_CONDITION, MOST_VISITS, ConditionFailed, check_condition

ORDER = {"total": 120, "currency": "EUR", "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 9}], "note": ""}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("total > `100`", True),
        ("total > `120`", False),
        ("currency == 'EUR' && total >= `120`", True),
        ("!(currency == 'EUR')", False),
        ("items[?n > `5`]", True),
        ("items[?n > `50`]", False),
        ("contains(items[*].sku, 'b')", True),
        ("starts_with(currency, 'U')", False),
        ("note", False),
        ("nothing.below", False),
        ("`0`", True),
    ],
)
def test_a_condition_holds_as_jmespath_says(text: str, holds: bool) -> None:  # noqa: FBT001  a column of the table
    assert check_condition(text).holds(ORDER) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "total >",
        "[@,@] | [@,@]",
        "{a: @}",
        "items[*].`[1, 2, 3]`[]",
        "sort(items)",
        "to_string(@)",
        "map(&n, items)",
        "items[?join(',', @) == 'a']",
        "(" * 399,
        "a" * (LONGEST_CONDITION + 1),
    ],
)
def test_what_is_no_condition_or_has_no_bound_is_refused_when_it_is_set(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_condition(text)


def test_a_function_that_is_given_the_wrong_type_fails_and_says_so() -> None:
    with pytest.raises(ConditionFailed, match="starts_with"):
        check_condition("starts_with(total, '1')").holds(ORDER)


def test_a_condition_that_looks_at_too_much_is_given_up() -> None:
    with pytest.raises(ConditionFailed, match="20,000"):
        check_condition("@[?n == `1`]").holds([{"n": 0}] * MOST_VISITS)
