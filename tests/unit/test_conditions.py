from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.conditions import (
    MAX_CONDITION_LENGTH,
    MAX_VISITS,
    ConditionEvaluator,
    ConditionFailed,
    ConditionResult,
    compile_condition,
    compile_stored_condition,
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
    assert compile_condition(text).is_met(ORDER) is holds


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
        "a" * (MAX_CONDITION_LENGTH + 1),
    ],
)
def test_invalid_or_unbounded_conditions_are_refused_on_save(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compile_condition(text)


def test_a_function_that_is_given_the_wrong_type_fails_and_says_so() -> None:
    with pytest.raises(ConditionFailed, match="starts_with"):
        compile_condition("starts_with(total, '1')").is_met(ORDER)


def test_a_condition_that_looks_at_too_much_is_given_up() -> None:
    with pytest.raises(ConditionFailed, match="2,000"):
        compile_condition("@[?n == `1`]").is_met([{"n": 0}] * MAX_VISITS)


@pytest.mark.parametrize(
    ("text", "payload", "why"),
    [
        ("a < 'x'", {"a": 1}, "values of different types"),
        ("contains(a, `5`)", {"a": "text"}, "values of different types"),
        ("a[::0]", {"a": [1]}, "cannot be evaluated"),
        ("a == b", {"a": [1], "b": [1]}, "a list or an object"),
        ("a != b", {"a": {}, "b": {}}, "a list or an object"),
        ("contains(a, b)", {"a": [[1]], "b": [1]}, "a list or an object"),
        ("contains(a, 'z')", {"a": ["x"] * MAX_VISITS}, "2,000"),
        ("contains(a, 'z')", {"a": "x" * 256 * MAX_VISITS}, "2,000"),
        ("a[]", {"a": [[]] * MAX_VISITS}, "2,000"),
    ],
)
def test_what_cannot_be_answered_or_would_take_long_fails_and_never_breaks(
    text: str, payload: object, why: str
) -> None:
    with pytest.raises(ConditionFailed, match=why):
        compile_condition(text).is_met(payload)


def test_an_error_tells_types_and_nothing_of_the_payload() -> None:
    with pytest.raises(ConditionFailed) as failed:
        compile_condition("length(card)").is_met({"card": 4242424242424242})
    assert str(failed.value) == "length() takes string or array or object, not number."


@pytest.mark.parametrize("text", ["length(a, b)", "not_null()", "contains(a)", "!" * 399 + "a"])
def test_a_call_that_could_never_be_answered_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"takes|deep"):
        compile_condition(text)


def test_why_it_is_no_jmespath_is_one_line() -> None:
    with pytest.raises(ValueError, match="This is not JMESPath: Incomplete expression") as refused:
        compile_condition("total >")
    assert "\n" not in str(refused.value)


def test_answers_reads_the_payload_once_and_asks_each_condition_once() -> None:
    answers = ConditionEvaluator(b'{"total": 120}')
    large = compile_condition("total > `100`")
    assert answers.evaluate(large) == ConditionResult(is_met=True)
    assert answers.evaluate(compile_condition("total > `200`")) == ConditionResult(is_met=False)
    answers.forget_payload()
    assert answers.evaluate(large) is answers.evaluate(compile_condition("total > `100`"))


def test_a_failed_condition_counts_as_met_and_tells_why() -> None:
    answer = ConditionEvaluator(b'{"total": 120}').evaluate(compile_condition("starts_with(total, '1')"))
    assert answer == ConditionResult(is_met=True, error="starts_with() takes string, not number.")


def test_stored_unsupported_condition_always_fails() -> None:
    answer = ConditionEvaluator(b"{}").evaluate(compile_stored_condition("sort(items)"))
    assert answer.is_met
    assert answer.error is not None
    assert "sort" in answer.error


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
    answer = ConditionEvaluator(msgspec.json.encode(payload)).evaluate(compile_condition(text))
    assert answer.is_met or answer.error is None
