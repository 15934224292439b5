"""The shapes of an event: what stands in each, and that no byte of the data is written anew."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from delivery.accept.draft import draft
from delivery.accept.parse import NewEvent
from delivery.dispatch.attempt import ALWAYS_SENT
from delivery.dispatch.formats import Format, PayloadKind, Shape
from delivery.model import TenantId, new_id
from signing import KeyRing, RingEntry, VerificationError, generate_hmac, sign, verify

if TYPE_CHECKING:
    from delivery.dispatch.formats import Shaped

EVENT = "evt_06bq2x"
NOW = datetime(2026, 11, 22, 18, 27, 0, 123_000, tzinfo=UTC)
MOMENT = "2026-11-22T18:27:00.123Z"
SECRET = generate_hmac(b"s" * 32)
LINK = "https://waybill.example/v1/events/"
# Data that looks like an envelope, with a member twice, odd spaces and a number that no float holds.
ODD = b'{ "n":1.10, "n":1e400, "s":"\\u00e9 \xc3\xa9", "type":"t","timestamp":"x","data":{}}'

CLOUDEVENTS = [Format.CLOUDEVENTS_STRUCTURED, Format.CLOUDEVENTS_BINARY]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


def stored(data: bytes, event_type: str = "order.created") -> bytes:
    made = draft(
        TenantId(new_id()),
        [NewEvent(event_type, data)],
        lambda _: [],
        single=True,
        now=NOW,
        new_id=new_id,
    )
    return made.events[0].body


def parsed(shaped: Shaped) -> Any:
    return from_http_event(HTTPMessage(headers={**ALWAYS_SENT, **shaped.headers}, body=shaped.body))


def test_the_standard_shape_is_the_stored_envelope_unread():
    body = b"whatever is stored"
    assert Shape().of(EVENT, body).body is body
    assert not Shape().of(EVENT, body).headers


@pytest.mark.parametrize("format_", CLOUDEVENTS)
def test_the_cloudevents_sdk_reads_every_attribute(format_: Format):
    event = parsed(Shape(format_, source="/shops/a").of(EVENT, stored(b'{"total":42}')))
    assert event.get_id() == EVENT
    assert event.get_source() == "/shops/a"
    assert event.get_type() == "order.created"
    assert event.get_specversion() == "1.0"
    assert event.get_time() == NOW
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == {"total": 42}


@pytest.mark.parametrize("format_", CLOUDEVENTS)
@given(data=DATA)
def test_the_cloudevents_sdk_reads_any_data(format_: Format, data: bytes):
    assert parsed(Shape(format_).of(EVENT, stored(data))).get_data() == json.loads(data)


def test_data_stays_byte_for_byte():
    assert Shape(Format.CLOUDEVENTS_BINARY).of(EVENT, stored(ODD)).body == ODD
    structured = Shape(Format.CLOUDEVENTS_STRUCTURED).of(EVENT, stored(ODD))
    assert structured.body.endswith(b'"datacontenttype":"application/json","data":' + ODD + b"}")
    assert structured.headers == {"content-type": "application/cloudevents+json"}


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("payload", PayloadKind)
def test_a_signature_holds_over_the_body_of_each_shape_and_no_other(format_: Format, payload: PayloadKind):
    shape, envelope = Shape(format_, payload, link=LINK), stored(ODD)
    shaped = shape.of(EVENT, envelope)
    ring = KeyRing((RingEntry(SECRET, None),))
    signed = sign(ring.live(NOW), message_id=EVENT, timestamp=NOW, body=shaped.body)
    again = shape.of(EVENT, envelope)
    assert again == shaped
    verify({**again.headers, **signed.headers()}, again.body, SECRET, now=NOW)
    with pytest.raises(VerificationError, match="No signature"):
        verify(signed.headers(), again.body + b" ", SECRET, now=NOW)


def test_a_thin_event_tells_what_happened_and_where_to_fetch_it():
    thin = Shape(payload=PayloadKind.THIN, link=LINK).of(EVENT, stored(ODD))
    told = {"id": EVENT, "type": "order.created", "timestamp": MOMENT}
    assert json.loads(thin.body) == {**told, "url": LINK + EVENT}
    assert json.loads(Shape(payload=PayloadKind.THIN).of(EVENT, stored(ODD)).body) == told


@pytest.mark.parametrize("format_", CLOUDEVENTS)
def test_a_thin_cloudevent_has_a_dataref_and_no_data(format_: Format):
    event = parsed(Shape(format_, PayloadKind.THIN, link=LINK).of(EVENT, stored(ODD)))
    assert event.get_extension("dataref") == LINK + EVENT
    assert not event.get_data()


def test_what_a_header_cannot_hold_is_percent_encoded():
    headers = Shape(Format.CLOUDEVENTS_BINARY, source='é "%').of(EVENT, stored(b"1")).headers
    assert headers["ce-source"] == "%C3%A9%20%22%25"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"a"}', b'{"type":"a","timestamp":"b","data":1'])
def test_what_is_no_envelope_is_refused(body: bytes):
    with pytest.raises(ValueError, match="no envelope"):
        Shape(Format.CLOUDEVENTS_BINARY).of(EVENT, body)
