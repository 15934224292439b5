"""Formatting of bodies for display."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from delivery.console.views.body import MAX_SHOWN_BYTES, format_body, format_json

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_indented_json_is_equal(value: Any):
    assert json.loads(format_json(json.dumps(value))) == value


@given(st.dictionaries(st.text(), JSON, min_size=1) | st.lists(JSON, min_size=1))
def test_json_is_indented_as_by_python(value: Any):
    assert format_json(json.dumps(value)) == json.dumps(value, indent=2)


@given(st.text())
def test_other_text_changes_only_in_white_space(text: str):
    assert "".join(format_json(text).split()) == "".join(text.split())


def test_numbers_and_duplicate_keys_stay_as_sent():
    sent = '{"id":123456789012345678901234567890,"a":1.10,"a":2}'
    assert "123456789012345678901234567890" in format_json(sent)
    assert "1.10" in format_json(sent)
    assert format_json(sent).count('"a"') == 2


def test_deeply_nested_json_is_not_indented():
    deep = "[" * 500 + "]" * 500
    assert format_json(deep) == deep


def test_binary_body_is_shown_as_hexadecimal():
    body = format_body(b"\xff\x00\x01")
    assert not body.is_text
    assert body.text == "ff 00 01"


def test_large_body_is_truncated():
    body = format_body("€".encode() * MAX_SHOWN_BYTES)
    assert body.is_truncated
    assert len(body.raw.encode()) <= MAX_SHOWN_BYTES
    assert body.size == 3 * MAX_SHOWN_BYTES
