from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.conditions import (
    LONGEST_CONDITION,
    MOST_VISITS,
    Answer,
    Answers,
    ConditionFailed,
    check_condition,
    kept_condition,
)

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
    with pytest.raises(ConditionFailed, match="2,000"):
        check_condition("@[?n == `1`]").holds([{"n": 0}] * MOST_VISITS)


@pytest.mark.parametrize(
    ("text", "payload", "why"),
    [
        ("a < 'x'", {"a": 1}, "cannot be compared"),
        ("contains(a, `5`)", {"a": "text"}, "cannot be compared"),
        ("a[::0]", {"a": [1]}, "cannot be answered"),
        ("a == b", {"a": [1], "b": [1]}, "a list or an object"),
        ("a != b", {"a": {}, "b": {}}, "a list or an object"),
        ("contains(a, b)", {"a": [[1]], "b": [1]}, "a list or an object"),
        ("contains(a, 'z')", {"a": ["x"] * MOST_VISITS}, "2,000"),
        ("contains(a, 'z')", {"a": "x" * 256 * MOST_VISITS}, "2,000"),
        ("a[]", {"a": [[]] * MOST_VISITS}, "2,000"),
    ],
)
def test_what_cannot_be_answered_or_would_take_long_fails_and_never_breaks(
    text: str, payload: object, why: str
) -> None:
    with pytest.raises(ConditionFailed, match=why):
        check_condition(text).holds(payload)


def test_an_error_tells_types_and_nothing_of_the_payload() -> None:
    with pytest.raises(ConditionFailed) as failed:
        check_condition("length(card)").holds({"card": 4242424242424242})
    assert str(failed.value) == "length() takes string or array or object, and was given number."


@pytest.mark.parametrize("text", ["length(a, b)", "not_null()", "contains(a)", "!" * 399 + "a"])
def test_a_call_that_could_never_be_answered_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"takes|deep"):
        check_condition(text)


def test_why_it_is_no_jmespath_is_one_line() -> None:
    with pytest.raises(ValueError, match="This is not JMESPath: Incomplete expression") as refused:
        check_condition("total >")
    assert "\n" not in str(refused.value)


def test_answers_reads_the_payload_once_and_asks_each_condition_once() -> None:
    answers = Answers(b'{"total": 120}')
    large = check_condition("total > `100`")
    assert answers.of(large) == Answer(holds=True)
    assert answers.of(check_condition("total > `200`")) == Answer(holds=False)
    answers.forget_payload()
    assert answers.of(large) is answers.of(check_condition("total > `100`"))


def test_a_failed_condition_counts_as_met_and_tells_why() -> None:
    answer = Answers(b'{"total": 120}').of(check_condition("starts_with(total, '1')"))
    assert answer == Answer(holds=True, failed="starts_with() takes string, and was given number.")


def test_a_kept_condition_that_this_release_does_not_take_fails_on_everything() -> None:
    answer = Answers(b"{}").of(kept_condition("sort(items)"))
    assert answer.holds
    assert answer.failed is not None
    assert "sort" in answer.failed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abn"), inner, max_size=3)
        ),
    ),
    st.sampled_from(
        [
            "a < b", "a == b", "a[?n > b]", "contains(a, b)", "starts_with(a, b)", "length(a)", "a[::0]",
            "*.a[].b", "!a && b", "not_null(a, b)", "a[0] != b[-1]", "type(a) == type(b)",
        ]
    ),
)  # fmt: skip
def test_whatever_a_payload_is_a_condition_answers_or_fails(payload: object, text: str) -> None:
    answer = Answers(msgspec.json.encode(payload)).of(check_condition(text))
    assert answer.holds or answer.failed is None
