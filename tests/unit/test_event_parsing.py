"""Producers' events are parsed, and everything else is refused with one clear error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import Invalid, TooLarge
from delivery.pipeline.parsing import IntakeLimits, NewEvent, parse_batch, parse_event

LIMITS = IntakeLimits()
SMALL = IntakeLimits(event_bytes=64, batch_events=3, batch_bytes=256)


def event_with(data: bytes) -> bytes:
    return b'{"type":"order.created","data":' + data + b"}"


def test_an_event_is_its_type_and_the_bytes_of_its_data() -> None:
    assert parse_event(event_with(b'{"id":1}'), LIMITS) == NewEvent("order.created", b'{"id":1}')


def test_field_order_and_white_space_do_not_matter() -> None:
    body = b' {\n "data" : [ 1 ] ,\t"type" : "order.created" } \r\n'
    assert parse_event(body, LIMITS) == NewEvent("order.created", b"[ 1 ]")


@pytest.mark.parametrize(
    "data",
    [
        b"123456789012345678901234567890",
        b"-123456789012345678901234567890.000",
        b'{"a":1,"a":2}',
        b'{"b":1.10,"a":1e2}',
        b'{ "a" : [ 1 ,\n2 ] }',
        rb'"\u00e9\/\ud83d\ude00"',
        '"é😀"'.encode(),
        rb'"\u0000"',
        b"1e-999",
        b"-0",
        b"null",
        b'""',
        b"[]",
    ],
    ids=lambda data: data.decode(),
)
def test_data_stays_byte_for_byte(data: bytes) -> None:
    assert parse_event(event_with(data), LIMITS).data == data


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"not json", "body"),
        (b'{"type":"a","data":1}}', "body"),
        (b'{"type":"a","data":1} {}', "body"),
        (b'{"type":"a","data":1,}', "body"),
        (b"{'type':'a','data':1}", "body"),
        (b'\xef\xbb\xbf{"type":"a","data":1}', "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"{}", "type"),
        (b'{"type":"a"}', "data"),
        (b'{"data":1}', "type"),
        (b'{"type":"a","data":1,"more":2}', "more"),
        (b'{"type":"a","data":1,"a\\nb`c":2}', "a\nb`c"),
        (b'{"Type":"a","data":1}', "Type"),
        (b'{"type":"a","data":NaN}', "body"),
        (b'{"type":"a","data":Infinity}', "body"),
        (b'{"type":"a","data":01}', "body"),
        (b'{"type":"a","data":+1}', "body"),
        (b'{"type":"a","data":}', "body"),
        (b'{"type":"a","data":"\n"}', "body"),
        (b'{"type":"a","data":"\0"}', "body"),
        (b'\0{"type":"a","data":1}', "body"),
        (b'{"type":"a","data":1}\0', "body"),
        (b'{"\xff":"a","data":1}', "body"),
        (b'{"type":1,"data":1}', "type"),
        (b'{"type":null,"data":1}', "type"),
        (b'{"type":["a"],"data":1}', "type"),
        (b'{"type":"","data":1}', "type"),
        (b'{"type":"a b","data":1}', "type"),
        (b'{"type":"a.","data":1}', "type"),
        (b'{"type":".a","data":1}', "type"),
        (b'{"type":"a..b","data":1}', "type"),
        (b'{"type":"a-b","data":1}', "type"),
        (b'{"type":"order.*","data":1}', "type"),
        (rb'{"type":"a\n","data":1}', "type"),
        (rb'{"type":"a\u0000","data":1}', "type"),
        ('{"type":"é","data":1}'.encode(), "type"),
        (b'{"type":"' + b"a" * 129 + b'","data":1}', "type"),
        (b'{"type":"a","data":"\xff"}', "data"),
        (b'{"type":"a","data":"\xed\xa0\x80"}', "data"),
        (b'{"type":"a","data":"\xc0\x80"}', "data"),
        (b'{"type":"a","data":1e999}', "data"),
        (b'{"type":"a","data":-1e999}', "data"),
        (b'{"type":"a","data":' + b"9" * 5_000 + b"}", "data"),
    ],
)
def test_an_invalid_event_is_refused_with_its_field(body: bytes, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_event(body, LIMITS)
    assert refused.value.field == field
    assert refused.value.why


@pytest.mark.parametrize("half", [rb"\ud800", rb"\udc00", rb"\ud800\u0041", rb"\udc00\ud800"])
@pytest.mark.parametrize(
    "place", ['{"type":"%s","data":1}', '{"type":"a","data":"%s"}', '{"type":"a","data":{"%s":1}}']
)
def test_a_lone_surrogate_is_refused_anywhere(half: bytes, place: str) -> None:
    with pytest.raises(Invalid):
        parse_event(place.encode() % half, LIMITS)


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_deeply_nested_event_is_refused(pair: tuple[bytes, bytes]) -> None:
    opening, closing = pair
    with pytest.raises(Invalid, match="nested"):
        parse_event(event_with(opening * 20_000 + b"1" + closing * 20_000), LIMITS)


def test_an_event_may_be_as_large_as_the_limit() -> None:
    spare = SMALL.event_bytes - len(event_with(b'""'))
    fits = event_with(b'"' + b"x" * spare + b'"')
    assert parse_event(fits, SMALL).data == b'"' + b"x" * spare + b'"'
    with pytest.raises(TooLarge) as refused:
        parse_event(fits + b" ", SMALL)
    assert (refused.value.size, refused.value.limit) == (65, 64)


def test_an_oversized_event_is_not_parsed() -> None:
    with pytest.raises(TooLarge):
        parse_event(b"[" * 65, SMALL)


def test_a_batch_is_its_events_in_order() -> None:
    body = b'{"events":[{"type":"a","data":1}, {"data":2,"type":"b.c"}]}'
    assert parse_batch(body, LIMITS) == (NewEvent("a", b"1"), NewEvent("b.c", b"2"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "body"),
        (b"{}", "events"),
        (b'{"events":[],"more":1}', "more"),
        (b'{"events":[}', "body"),
        (b'{"events":{}}', "events"),
        (b'{"events":null}', "events"),
        (b'{"events":[]}', "events"),
        (b'{"events":[1]}', "events.0"),
        (b'{"events":[{"type":"a","data":1},{"type":"a"}]}', "events.1.data"),
        (b'{"events":[{"type":"a","data":1},{"type":"a","data":1,"x":1}]}', "events.1.x"),
        (b'{"events":[{"type":"a","data":1},{"type":1,"data":1}]}', "events.1.type"),
        (b'{"events":[{"type":"a b","data":1}]}', "events.0.type"),
        (b'{"events":[{"type":"a","data":"\xff"}]}', "events.0.data"),
    ],
)
def test_an_invalid_event_refuses_the_batch_and_is_named(body: bytes, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_batch(body, LIMITS)
    assert refused.value.field == field


def test_a_batch_has_limits() -> None:
    one = b'{"type":"a","data":1}'
    assert len(parse_batch(b'{"events":[' + b",".join([one] * 3) + b"]}", SMALL)) == 3
    with pytest.raises(TooLarge, match="4 events"):
        parse_batch(b'{"events":[' + b",".join([one] * 4) + b"]}", SMALL)
    with pytest.raises(TooLarge, match="257 bytes"):
        parse_batch(b" " * 257, SMALL)
    with pytest.raises(TooLarge, match=r"events\.1"):
        parse_batch(b'{"events":[' + one + b',{"type":"a","data":"' + b"x" * 64 + b'"}]}', SMALL)


# ---- any bytes
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
TYPES = st.text("abzAZ09_.", max_size=12) | st.text(max_size=5)
NEARLY_EVENTS = st.builds(
    lambda fields, cut, noise: json.dumps(fields).encode()[:cut] + noise,
    st.dictionaries(st.sampled_from(["type", "data", "events", "x"]), TYPES | JSON_VALUES, max_size=4),
    st.none() | st.integers(0, 40),
    st.binary(max_size=3),
)


@given(st.binary(max_size=80) | NEARLY_EVENTS)
def test_any_bytes_are_an_event_or_a_refusal(body: bytes) -> None:
    for parse in (parse_event, parse_batch):
        try:
            parsed = parse(body, SMALL)
        except (Invalid, TooLarge) as refused:
            assert str(refused)  # noqa: PT017  either end is right; no other exception is
        else:
            for event in [parsed] if isinstance(parsed, NewEvent) else parsed:
                assert event.data in body
                json.loads(event.data)


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_any_json_is_accepted_as_data(value: object, ascii_only: bool, indent: int | None) -> None:  # noqa: FBT001  hypothesis gives it
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(errors="surrogatepass")
    assert parse_event(event_with(data), LIMITS).data == data
