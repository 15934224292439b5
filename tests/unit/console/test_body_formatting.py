"""Bodies as people read them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from delivery.console.pretty import MOST_SHOWN, laid_out, shown

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_laid_out_it_is_the_same_json(value: Any):
    assert json.loads(laid_out(json.dumps(value))) == value


@given(st.dictionaries(st.text(), JSON, min_size=1) | st.lists(JSON, min_size=1))
def test_it_looks_as_people_know_it(value: Any):
    assert laid_out(json.dumps(value)) == json.dumps(value, indent=2)


@given(st.text())
def test_what_is_no_json_stays_as_it_is_but_for_white_space(text: str):
    assert "".join(laid_out(text).split()) == "".join(text.split())


def test_numbers_and_doubled_keys_stay_as_they_were_sent():
    sent = '{"id":123456789012345678901234567890,"a":1.10,"a":2}'
    assert "123456789012345678901234567890" in laid_out(sent)
    assert "1.10" in laid_out(sent)
    assert laid_out(sent).count('"a"') == 2


def test_very_deep_json_is_left_alone():
    deep = "[" * 500 + "]" * 500
    assert laid_out(deep) == deep


def test_bytes_that_are_no_text_are_shown_as_hexadecimal():
    body = shown(b"\xff\x00\x01")
    assert not body.is_text
    assert body.text == "ff 00 01"


def test_of_a_large_body_the_beginning_is_shown():
    body = shown("€".encode() * MOST_SHOWN)
    assert body.cut
    assert len(body.raw.encode()) <= MOST_SHOWN
    assert body.size == 3 * MOST_SHOWN
