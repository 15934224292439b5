"""Schemas that are taken are bounded in every way, and say no more of what they refuse than where and why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.json_schema import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_PARTS,
    MAX_VALIDATION_STEPS,
    InvalidSchema,
    compile_schema,
    is_draft_7_compatible,
    rebase_schema,
)

MONEY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2}$"}
ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "integer"}, "total": {"$ref": "#/$defs/money"}},
    "$defs": {"money": MONEY},
}


def fault(schema: Any, value: object) -> tuple[tuple[str | int, ...], str] | None:
    found = compile_schema(schema).find_violation(json.dumps(value).encode())
    return None if found is None else (found.path, found.why)


def refused(schema: Any) -> InvalidSchema:
    with pytest.raises(InvalidSchema) as caught:
        compile_schema(schema)
    return caught.value


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


def laughing(levels: int) -> dict[str, Any]:
    """Each level refers to the next one twice."""
    defs: dict[str, Any] = {f"l{levels}": {}}
    for level in range(levels):
        defs[f"l{level}"] = {"allOf": [{"$ref": f"#/$defs/l{level + 1}"}] * 2}
    return {"$ref": "#/$defs/l0", "$defs": defs}


# ---- what is said of data
def test_data_that_is_as_the_schema_says_has_no_fault():
    assert fault(ORDER, {"order": 1, "total": "19.90", "more": None}) is None


def test_a_fault_is_told_by_its_place_and_without_the_value():
    path, why = fault(ORDER, {"order": 1, "total": "my password"}) or ((), "")
    assert path == ("total",)
    assert "the value does not match" in why
    assert "password" not in why
    assert fault({"items": {"type": "integer"}}, [1, "x"]) == ((1,), 'the value is not of type "integer"')


def test_what_is_missing_is_named():
    assert fault(ORDER, {}) == ((), '"order" is a required property')


def test_a_long_reason_is_cut():
    _, why = fault({"enum": ["x" * 100 + str(n) for n in range(100)]}, "y") or ((), "")
    assert len(why) < 400


@pytest.mark.parametrize(("schema", "is_right"), [(True, True), (False, False), ({}, True)])
def test_true_takes_everything_and_false_nothing(schema: Any, is_right: bool):  # noqa: FBT001  a parameter
    assert (fault(schema, {"a": [1]}) is None) is is_right


def test_large_numbers_stay_what_they_are():
    assert fault({"const": 2**64 + 1}, 2**64 + 1) is None
    assert fault({"const": 2**64 + 1}, 2**64 + 2) is not None


def test_a_format_is_for_people():
    assert fault({"format": "email"}, "no address") is None


def test_words_that_are_no_schemas_may_say_anything():
    words = {"$ref": "https://evil.example", "$id": "x"}
    compile_schema({"const": words, "enum": [words], "default": words, "examples": [words]})
    compile_schema({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}})


# ---- what is no schema that is taken
@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        ("string", (), "must be an object"),
        (3, (), "must be an object"),
        ({"type": "objekt"}, ("type",), ""),
        ({"properties": {"a": {"minimum": "1"}}}, ("properties", "a", "minimum"), ""),
        ({"items": [{}]}, ("items",), ""),
        ({"$ref": "https://evil.example/x"}, ("$ref",), "other documents are not fetched"),
        ({"$ref": "file:///etc/passwd"}, ("$ref",), "other documents are not fetched"),
        ({"$ref": "other.json#/a"}, ("$ref",), "other documents are not fetched"),
        ({"$ref": "#anchor"}, ("$ref",), "other documents are not fetched"),
        ({"$ref": 1}, ("$ref",), "other documents are not fetched"),
        ({"not": {"$ref": "#/$defs/none"}}, ("not", "$ref"), "does not point to a schema"),
        ({"$ref": "#/const", "const": {}}, ("$ref",), "does not point to a schema"),
        ({"$id": "https://evil.example/x"}, ("$id",), "is not taken"),
        ({"items": {"$dynamicRef": "#x"}}, ("items", "$dynamicRef"), "is not taken"),
        ({"$schema": "https://evil.example/meta"}, ("$schema",), "must be"),
        ({"title": "\ud800"}, (), "not JSON"),
        ({"maximum": float("inf")}, (), "not JSON"),
        ({"description": "x" * MAX_SCHEMA_BYTES}, (), "bytes"),
        (nested(MAX_SCHEMA_DEPTH), (), "nested deeper"),
        (laughing(60), (), "parts including references"),
        ({"pattern": "("}, ("pattern",), ""),
        ({"pattern": r"(a)\1"}, ("pattern",), ""),
        ({"pattern": "^(?=a)"}, ("pattern",), ""),
        ({"pattern": "(?:a{1000}){1000}"}, ("pattern",), ""),
        ({"patternProperties": {"(": {}}}, ("patternProperties", "("), ""),
    ],
)
def test_what_is_not_taken_is_refused_by_its_place(schema: Any, path: tuple[str | int, ...], why: str):
    error = refused(schema)
    assert error.path[: len(path)] == path
    assert why in error.why


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"properties": {"next": {"$ref": "#"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}},
    ],
)
def test_a_schema_does_not_refer_to_itself(schema: Any):
    assert "refers to itself" in refused(schema).why


def test_a_long_chain_of_references_is_refused_and_not_followed_to_the_end():
    chain = {f"c{n}": {"$ref": f"#/$defs/c{n + 1}"} for n in range(1_000)} | {"c1000": {}}
    assert "levels deep" in refused({"$ref": "#/$defs/c0", "$defs": chain}).why


def test_definitions_count_where_they_are_used():
    unused: dict[str, object] = {f"d{n}": {} for n in range(3_000)}
    compile_schema({"$defs": unused, "allOf": [{"$ref": "#/$defs/d0"}] * 1_000})


# ---- what a check costs
def test_a_pattern_takes_time_linear_in_the_text():
    validator = compile_schema({"pattern": "^(a+)+$"})
    # With an engine that goes back, this test would not end.
    assert validator.find_violation(json.dumps("a" * 200_000 + "!").encode()) is not None


def test_unevaluated_keywords_may_not_be_nested_deeply():
    def nested(levels: int) -> dict[str, Any]:
        links: dict[str, Any] = {
            f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}], "unevaluatedProperties": False}
            for n in range(levels)
        }
        return {"$ref": "#/$defs/d0", "$defs": links | {f"d{levels}": {"properties": {"a": {}}}}}

    compile_schema(nested(3))
    # With twenty of them a check of one member takes seconds.
    assert "parts including references" in refused(nested(20)).why


def test_too_many_values_for_the_schema_size_are_refused_unchecked():
    parts = MAX_SCHEMA_PARTS // 2
    validator = compile_schema({"items": {"anyOf": [{"const": n} for n in range(parts - 2)]}})
    few, many = MAX_VALIDATION_STEPS // parts // 2, MAX_VALIDATION_STEPS // parts + 1
    assert validator.find_violation(json.dumps([parts - 3] * 10).encode()) is None
    assert validator.find_violation(json.dumps([0] * few).encode()) is None
    found = validator.find_violation(json.dumps([0] * many).encode())
    assert found is not None
    assert "too many values" in found.why


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda of: (
            st.lists(of)
            | st.dictionaries(
                st.sampled_from(["$ref", "$defs", "properties", "items", "allOf", "not", "type", "enum", "a"])
                | st.text(),
                of,
            )
        ),
    )
)
def test_whatever_is_sent_is_a_schema_or_is_refused(schema: Any):
    try:
        validator = compile_schema(schema)
    except InvalidSchema:
        return
    validator.find_violation(b'{"a":[1,"x",null]}')


# ---- elsewhere
def test_a_schema_moves_into_another_document_with_its_references():
    moved = rebase_schema({"$schema": "x", **ORDER, "const": {"$ref": "#/a"}}, "#/components/schemas/a.b")
    assert moved["properties"]["total"] == {"$ref": "#/components/schemas/a.b/$defs/money"}
    assert moved["const"] == {"$ref": "#/a"}
    assert "$schema" not in moved
    assert rebase_schema({"allOf": [{"$ref": "#"}], "items": True}, "#/x") == {
        "allOf": [{"$ref": "#/x"}],
        "items": True,
    }


@pytest.mark.parametrize(
    ("schema", "alike"),
    [
        (ORDER, True),
        (True, True),
        ({"properties": {"a": {"$ref": "#/$defs/b", "description": "x"}}, "$defs": {"b": {}}}, True),
        ({"items": {"prefixItems": []}}, False),
        ({"properties": {"a": {"$ref": "#/$defs/b", "minLength": 1}}, "$defs": {"b": {}}}, False),
        ({"unevaluatedProperties": False}, False),
        ({"const": {"prefixItems": 1}}, True),
    ],
)
def test_a_schema_that_draft_7_reads_otherwise_is_known(schema: Any, alike: bool):  # noqa: FBT001  a parameter
    assert is_draft_7_compatible(schema) is alike
