"""The properties of a message: what a stranger may write there never raises."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.frame import Header, decode_frame

from tests.support.publishing import long, nested, short
from workers.ingest_frames import read_content_header, read_properties

KEY = short(b"waybill-key") + b"S" + long(b"wbk_x")
TEXTS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)


def with_headers(*headers: bytes) -> bytes:
    """Encoded properties that are headers, the key behind the given ones, and a message-id."""
    flags = BasicProperties.FLAG_HEADERS | BasicProperties.FLAG_MESSAGE_ID
    return struct.pack(">H", flags) + long(b"".join(headers) + KEY) + short(b"m1")


STRANGE = {
    "a date of 1965": b"T" + struct.pack(">q", -150_000_000),
    "a date far ahead": b"T" + struct.pack(">Q", 1 << 62),
    "a float that is no number": b"f" + struct.pack(">f", float("nan")),
    "a double without end": b"d" + struct.pack(">d", float("inf")),
    "deep tables": nested(5_000),
    "deep arrays": nested(5_000, b"A"),
    "an array of nonsense": b"A" + long(b"\xff" * 20),
    "bytes": b"x" + long(b"\xff\xfe"),
    "nothing": b"V",
    "a decimal": b"D\xff\x7f\xff\xff\xff",
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
def test_a_header_that_python_cannot_hold_is_passed_over(value: bytes):
    read = read_properties(with_headers(short(b"odd") + value))
    assert read.message_id == "m1"
    assert read.headers["waybill-key"] == "wbk_x"


def test_behind_a_header_of_an_unknown_kind_there_are_no_headers_and_the_rest_is_read():
    read = read_properties(with_headers(KEY, short(b"odd") + b"?whatever"))
    assert (read.headers, read.message_id) == ({"waybill-key": "wbk_x"}, "m1")


def test_what_is_not_utf_8_is_text_all_the_same():
    flags = BasicProperties.FLAG_MESSAGE_ID | BasicProperties.FLAG_USER_ID | BasicProperties.FLAG_APP_ID
    read = read_properties(struct.pack(">H", flags) + short(b"m\xff") + short(b"\xfe") + short(b"\xc3"))
    assert (read.message_id, read.user_id, read.app_id) == ("m\ufffd", "\ufffd", "\ufffd")


@given(st.binary(max_size=300), st.integers(0, 2**16 - 1))
def test_nothing_raises(encoded: bytes, flags: int):
    read = read_properties(struct.pack(">H", flags) + encoded)
    for name in TEXTS:
        assert isinstance(getattr(read, name), str | None)
    for name, value in (read.headers or {}).items():
        assert (type(name), type(value)) == (str, str)
    read_properties(encoded)


HEADERS = {
    "waybill-key": "wbk_x",
    "number": 1,
    "large": 1 << 40,
    "yes": True,
    "when": datetime(2026, 11, 26, tzinfo=UTC),
    "price": Decimal("1.5"),
    "nothing": None,
    "list": ["a", {"b": 1}],
    "table": {"a": {"b": "c"}},
    "last": "Zoë",
}


@given(st.dictionaries(st.sampled_from(TEXTS), st.text(max_size=60)), st.booleans(), st.booleans())
def test_what_pika_reads_is_read_alike(texts: dict[str, str], with_them: bool, numbers: bool):  # noqa: FBT001  drawn
    more = {"priority": 3, "delivery_mode": 2, "timestamp": 7} if numbers else {}
    written = BasicProperties(**texts, **more, headers=HEADERS if with_them else None)
    framed = Header(1, 42, written).marshal()
    told = read_content_header(framed + b"more")
    assert told is not None
    consumed, read = told
    theirs_consumed, theirs = decode_frame(framed)
    assert (consumed, read.channel_number, read.body_size) == (theirs_consumed, 1, 42)
    expected = theirs.properties
    if with_them:
        expected.headers = {name: value for name, value in HEADERS.items() if isinstance(value, str)}
    assert vars(read.properties) == vars(expected)


def test_what_is_no_whole_content_header_is_left_to_pika():
    framed = Header(1, 42, BasicProperties(message_id="m1")).marshal()
    assert all(read_content_header(framed[:end]) is None for end in range(len(framed)))
    assert read_content_header(framed[:-1] + b"\0") is None
    assert read_content_header(b"\1" + framed[1:]) is None
    assert read_content_header(b"\2\0\1\0\0\0\1\0\xce") is None
