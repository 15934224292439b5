"""Parsing the properties of a message never raises, whatever they hold."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.frame import Header, decode_frame

from tests.support.amqp_publisher import encode_long_string, encode_nested_table, encode_short_string
from workers.ingest.amqp_frames import parse_content_header, parse_properties

KEY = encode_short_string(b"waybill-key") + b"S" + encode_long_string(b"wbk_x")
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
    """Encode properties with these headers, then the key's, and a message-id."""
    flags = BasicProperties.FLAG_HEADERS | BasicProperties.FLAG_MESSAGE_ID
    return struct.pack(">H", flags) + encode_long_string(b"".join(headers) + KEY) + encode_short_string(b"m1")


STRANGE = {
    "a date of 1965": b"T" + struct.pack(">q", -150_000_000),
    "a date far ahead": b"T" + struct.pack(">Q", 1 << 62),
    "a float that is no number": b"f" + struct.pack(">f", float("nan")),
    "a double without end": b"d" + struct.pack(">d", float("inf")),
    "deep tables": encode_nested_table(5_000),
    "deep arrays": encode_nested_table(5_000, b"A"),
    "an array of nonsense": b"A" + encode_long_string(b"\xff" * 20),
    "bytes": b"x" + encode_long_string(b"\xff\xfe"),
    "nothing": b"V",
    "a decimal": b"D\xff\x7f\xff\xff\xff",
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
def test_an_unrepresentable_header_is_skipped(value: bytes):
    properties = parse_properties(with_headers(encode_short_string(b"odd") + value))
    assert properties.message_id == "m1"
    assert properties.headers["waybill-key"] == "wbk_x"


def test_unknown_header_type_drops_later_headers_but_keeps_properties():
    properties = parse_properties(with_headers(KEY, encode_short_string(b"odd") + b"?whatever"))
    assert (properties.headers, properties.message_id) == ({"waybill-key": "wbk_x"}, "m1")


def test_bytes_that_are_not_utf_8_are_replaced():
    flags = BasicProperties.FLAG_MESSAGE_ID | BasicProperties.FLAG_USER_ID | BasicProperties.FLAG_APP_ID
    properties = parse_properties(
        struct.pack(">H", flags)
        + encode_short_string(b"m\xff")
        + encode_short_string(b"\xfe")
        + encode_short_string(b"\xc3")
    )
    assert (properties.message_id, properties.user_id, properties.app_id) == ("m\ufffd", "\ufffd", "\ufffd")


@given(st.binary(max_size=300), st.integers(0, 2**16 - 1))
def test_parser_never_raises(encoded: bytes, flags: int):
    properties = parse_properties(struct.pack(">H", flags) + encoded)
    for name in TEXTS:
        assert isinstance(getattr(properties, name), str | None)
    for name, value in (properties.headers or {}).items():
        assert (type(name), type(value)) == (str, str)
    parse_properties(encoded)


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
def test_properties_are_parsed_as_pika_does(texts: dict[str, str], with_them: bool, numbers: bool):  # noqa: FBT001  drawn
    more = {"priority": 3, "delivery_mode": 2, "timestamp": 7} if numbers else {}
    written = BasicProperties(**texts, **more, headers=HEADERS if with_them else None)
    framed = Header(1, 42, written).marshal()
    parsed = parse_content_header(framed + b"more")
    assert parsed is not None
    consumed, header = parsed
    theirs_consumed, theirs = decode_frame(framed)
    assert (consumed, header.channel_number, header.body_size) == (theirs_consumed, 1, 42)
    expected = theirs.properties
    if with_them:
        expected.headers = {name: value for name, value in HEADERS.items() if isinstance(value, str)}
    assert vars(header.properties) == vars(expected)


def test_incomplete_content_header_is_left_to_pika():
    framed = Header(1, 42, BasicProperties(message_id="m1")).marshal()
    assert all(parse_content_header(framed[:end]) is None for end in range(len(framed)))
    assert parse_content_header(framed[:-1] + b"\0") is None
    assert parse_content_header(b"\1" + framed[1:]) is None
    assert parse_content_header(b"\2\0\1\0\0\0\1\0\xce") is None
