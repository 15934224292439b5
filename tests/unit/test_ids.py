from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import MalformedId
from delivery.domain.ids import Prefix, build_min_id, extract_id_time, format_id, new_id, parse_id

prefixes = st.sampled_from(Prefix)


@given(prefixes, st.uuids())
def test_an_id_is_read_back_as_it_was_shown(prefix: Prefix, id_: UUID):
    assert parse_id(prefix, format_id(prefix, id_)) == id_


@given(prefixes, st.text(string.printable, max_size=40))
def test_what_was_not_shown_is_not_read(prefix: Prefix, text: str):
    try:
        id_ = parse_id(prefix, text)
    except MalformedId:
        return
    assert format_id(prefix, id_) == text


@given(st.uuids(), st.integers(0, 25), st.sampled_from("ilouILOU-_é\0 "))
def test_a_letter_outside_the_alphabet_is_refused(id_: UUID, position: int, letter: str):
    shown = format_id(Prefix.EVENT, id_)
    at = len("evt_") + position
    with pytest.raises(MalformedId):
        parse_id(Prefix.EVENT, shown[:at] + letter + shown[at + 1 :])


@given(st.uuids(), prefixes, prefixes)
def test_an_id_of_another_kind_is_refused(id_: UUID, shown: Prefix, read: Prefix):
    if shown is read:
        return
    with pytest.raises(MalformedId):
        parse_id(read, format_id(shown, id_))


@given(st.uuids(), st.uuids())
def test_shown_ids_sort_as_the_ids_do(one: UUID, other: UUID):
    assert (format_id(Prefix.EVENT, one) < format_id(Prefix.EVENT, other)) is (one < other)


# Source: github.com/jetify-com/typeid, spec/valid.yml.
@pytest.mark.parametrize(
    ("suffix", "id_"),
    [
        ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
        ("00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
        ("0000000000000000000000000z", "00000000-0000-0000-0000-00000000001f"),
        ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ],
)
def test_ids_are_written_as_the_typeid_specification_says(suffix: str, id_: str):
    assert format_id(Prefix.TENANT, UUID(id_)) == f"ten_{suffix}"


def test_a_suffix_beyond_128_bits_is_refused():
    with pytest.raises(MalformedId):
        parse_id(Prefix.EVENT, "evt_8" + "0" * 25)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2120, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  made aware
def test_a_floor_lies_within_its_millisecond(moment: datetime):
    assert timedelta(0) <= moment - extract_id_time(build_min_id(moment)) < timedelta(milliseconds=1.001)


def test_new_ids_are_monotonic():
    ids = [new_id() for _ in range(1_000)]
    assert ids == sorted(set(ids))
