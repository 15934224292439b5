"""Conditions on payloads: which paths can be said, and what equals what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.payload_path import MAX_PAYLOAD_FILTER_LENGTH, PayloadEquals

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def body(data: str) -> bytes:
    return f'{{"type":"a","timestamp":"2026-11-22T18:27:00.123Z","data":{data}}}'.encode()


def step(name: str) -> str:
    return f"[{json.dumps(name)}]"


@pytest.mark.parametrize(
    ("condition", "data"),
    [
        ("$.order.id=1042", '{"order": {"id": 1042}}'),
        ("$.order.id=1042", '{"order": {"id": 1042.0}}'),
        ("$.order.id=1.042e3", '{"order": {"id": 1042}}'),
        ("$.n=123456789012345678901234567890", '{"n": 123456789012345678901234567890}'),
        ("$.sku=A1", '{"sku": "A1"}'),
        ('$.sku="A1"', '{"sku": "A1"}'),
        ('$.number="7"', '{"number": "7"}'),
        ("$.items[1].sku=b", '{"items": [{"sku": "a"}, {"sku": "b"}]}'),
        ("$['odd name'].x=1", '{"odd name": {"x": 1}}'),
        ('$["a.b"]=true', '{"a.b": true}'),
        (r"$['it\'s']=null", '{"it\'s": null}'),
        ("$=5", "5"),
        ('$.tags=["a","b"]', '{"tags": ["a", "b"]}'),
        ("$.a={}", '{"a": {}}'),
        ("$.e=a=b", '{"e": "a=b"}'),
        ("$.empty=", '{"empty": ""}'),
        ("$.größe=3", '{"größe": 3}'),
    ],
)
def test_a_payload_that_holds_the_value_is_found(condition: str, data: str) -> None:
    assert PayloadEquals.parse(condition).matches(body(data))


@pytest.mark.parametrize(
    ("condition", "data"),
    [
        ("$.order.id=1042", '{"order": {"id": "1042"}}'),
        ("$.n=123456789012345678901234567891", '{"n": 123456789012345678901234567890}'),
        ("$.n=1", '{"n": true}'),
        ("$.n=0", '{"n": false}'),
        ("$.n=null", "{}"),
        ("$.items[2]=1", '{"items": [1, 2]}'),
        ("$.items.x=1", '{"items": [1]}'),
        ("$.x[0]=a", '{"x": "a"}'),
        ("$.x=1", "[]"),
        ('$.tags=["a"]', '{"tags": ["a", "b"]}'),
        ('$.tags=["b","a"]', '{"tags": ["a", "b"]}'),
        ("$.a={}", '{"a": {"b": 1}}'),
        ("$.type=a", "{}"),
    ],
)
def test_a_payload_that_holds_something_else_is_not(condition: str, data: str) -> None:
    assert not PayloadEquals.parse(condition).matches(body(data))


@pytest.mark.parametrize(
    "text",
    ["", "order.id=1", "$.order.id", "$.=1", "$..a=1", "$.a.=1", "$[-1]=1", "$[*]=1", "$['a=1", "$.a[01]=1",
     "$x=1", "$.a b=1", "$" + "." + "a" * MAX_PAYLOAD_FILTER_LENGTH + "=1"],
)  # fmt: skip
def test_what_is_no_condition_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|cannot"):
        PayloadEquals.parse(text)


@given(VALUES, st.lists(st.text(), max_size=3))
def test_every_value_is_found_where_it_stands(value: Any, names: list[str]) -> None:
    data = value
    for name in reversed(names):
        data = {name: data}
    text = f"${''.join(map(step, names))}={json.dumps(value)}"
    if len(text) <= MAX_PAYLOAD_FILTER_LENGTH:
        assert PayloadEquals.parse(text).matches(body(json.dumps(data)))


@given(st.binary() | st.text().map(str.encode))
def test_whatever_the_body_is_nothing_is_raised(content: bytes) -> None:
    assert PayloadEquals.parse("$.a=1").matches(content) in {True, False}


def test_a_body_that_is_nested_too_deeply_is_not_found() -> None:
    assert not PayloadEquals.parse("$.a=1").matches(body("[" * 100_000 + "]" * 100_000))
