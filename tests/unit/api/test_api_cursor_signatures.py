from __future__ import annotations

import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.api.http.cursors import Cursors, ListQuery
from delivery.domain.errors import Invalid
from delivery.domain.pagination import MAX_ID

cursors = Cursors.from_keys("newest,older")
scopes = st.lists(st.text(max_size=5), min_size=1, max_size=3).map(tuple)
letters = string.ascii_letters + string.digits + "-_"


@given(st.uuids(), scopes)
def test_a_cursor_returns_to_its_position(last: UUID, scope: tuple[str, ...]):
    assert cursors.read_cursor(cursors.write_cursor(last, scope), scope) == last


@given(st.uuids(), scopes, scopes)
def test_a_cursor_of_another_list_is_refused(last: UUID, scope: tuple[str, ...], other: tuple[str, ...]):
    if scope == other:
        return
    with pytest.raises(Invalid):
        cursors.read_cursor(cursors.write_cursor(last, scope), other)


@given(st.uuids(), st.integers(0, 39), st.sampled_from(letters))
def test_a_modified_cursor_is_refused(last: UUID, position: int, letter: str):
    written = cursors.write_cursor(last, ("a",))
    if written[position] == letter:
        return
    with pytest.raises(Invalid):
        cursors.read_cursor(written[:position] + letter + written[position + 1 :], ("a",))


@given(st.text())
def test_a_foreign_cursor_is_refused(text: str):
    with pytest.raises(Invalid) as refused:
        cursors.read_cursor(text, ("a",))
    assert refused.value.field == "cursor"


def test_a_cursor_survives_a_new_key_but_not_the_removal_of_its_own():
    last = UUID(int=7)
    written = Cursors.from_keys("older").write_cursor(last, ("a",))
    assert cursors.read_cursor(written, ("a",)) == last
    with pytest.raises(Invalid):
        Cursors.from_keys("newest").read_cursor(written, ("a",))


def test_a_list_without_a_cursor_starts_at_the_newest():
    requested = ListQuery(10, None, cursors)
    assert requested.to_page_request("a").before == MAX_ID
    assert requested.encode_next_cursor(None, "a") is None
