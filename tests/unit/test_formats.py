"""Formats: the content of each, with the data's bytes unchanged."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import svix.webhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from delivery.config import parse_settings
from delivery.domain.errors import Misconfigured
from delivery.domain.formats import (
    EventOrigin,
    PayloadFormat,
    PayloadFormatter,
    PayloadKind,
    build_formatter,
    reconstruct_body,
)
from delivery.domain.ids import EventId, Prefix, TenantId, new_id, parse_id
from delivery.pipeline.attempt import DEFAULT_HEADERS
from delivery.pipeline.fanout import plan_fanout
from delivery.pipeline.parsing import NewEvent
from signing import VerificationError, generate_hmac, sign, verify

if TYPE_CHECKING:
    from delivery.domain.formats import FormattedPayload

EVENT = "evt_01kb0w3s9qf1xv9k9m3f5ht2dn"
EVENT_ID = EventId(parse_id(Prefix.EVENT, EVENT))
TENANT = TenantId(parse_id(Prefix.TENANT, "ten_01kb0w3s9qf1xv9k9m3f5ht2dn"))
NOW = datetime(2026, 11, 22, 18, 27, 0, 123_000, tzinfo=UTC)
MOMENT = "2026-11-22T18:27:00.123Z"
SECRET = generate_hmac(b"s" * 32)
LINK = f"https://waybill.example/v1/events/{EVENT}"
ORIGIN = EventOrigin("https://shop.example/", "https://waybill.example")
# Data that looks like an envelope, with a member twice, odd spaces and a number that no float holds.
ODD = b'{ "n":1.10, "n":1e400, "s":"\\u00e9 \xc3\xa9", "type":"t","timestamp":"x","data":{}}'
NOTICE = {"id": EVENT, "type": "order.created", "timestamp": MOMENT, "url": LINK}

CLOUDEVENTS = [PayloadFormat.CLOUDEVENTS_STRUCTURED, PayloadFormat.CLOUDEVENTS_BINARY]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


def stored(data: bytes, event_type: str = "order.created") -> bytes:
    made = plan_fanout(TENANT, [NewEvent(event_type, data)], [[]], single=True, now=NOW, new_id=new_id)
    return made.events[0].body


def shaped(
    data: bytes, wanted: PayloadFormat, payload: PayloadKind = PayloadKind.FULL, origin: EventOrigin = ORIGIN
) -> FormattedPayload:
    return PayloadFormatter(wanted, payload, TENANT, origin).format_event(EVENT_ID, stored(data))


def read(one: FormattedPayload) -> Any:
    """The event as the SDK of CloudEvents reads it."""
    return from_http_event(HTTPMessage(headers={**DEFAULT_HEADERS, **one.headers}, body=one.body))


def sent_again(body: bytes, envelope: bytes, origin: EventOrigin) -> bytes | None:
    digest = hashlib.sha256(body).digest()
    return reconstruct_body(digest, EVENT_ID, envelope, tenant_id=TENANT, origin=origin)


def test_standard_format_needs_no_conversion() -> None:
    for wanted in PayloadFormat:
        for payload in PayloadKind:
            shape = build_formatter(wanted, payload, tenant_id=TENANT, origin=ORIGIN)
            assert (shape is None) == (wanted is PayloadFormat.STANDARD and payload is PayloadKind.FULL)


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
def test_the_cloudevents_sdk_reads_every_attribute(wanted: PayloadFormat) -> None:
    event = read(shaped(b'{"total":42}', wanted))
    assert event.get_attributes() == {
        "specversion": "1.0",
        "id": EVENT,
        "source": "https://shop.example/ten_01kb0w3s9qf1xv9k9m3f5ht2dn",
        "type": "order.created",
        "time": NOW,
        "datacontenttype": "application/json",
    }
    assert event.get_data() == {"total": 42}


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
@given(data=DATA)
def test_the_cloudevents_sdk_reads_any_data(wanted: PayloadFormat, data: bytes) -> None:
    assert read(shaped(data, wanted)).get_data() == json.loads(data)


def test_data_stays_byte_for_byte() -> None:
    assert shaped(ODD, PayloadFormat.CLOUDEVENTS_BINARY).body == ODD
    structured = shaped(ODD, PayloadFormat.CLOUDEVENTS_STRUCTURED)
    assert structured.body.endswith(b'"datacontenttype":"application/json","data":' + ODD + b"}")
    assert structured.headers == {"content-type": "application/cloudevents+json; charset=utf-8"}


@pytest.mark.parametrize("wanted", PayloadFormat)
@pytest.mark.parametrize("payload", PayloadKind)
def test_a_signature_holds_over_the_body_of_each_shape_and_no_other(
    wanted: PayloadFormat, payload: PayloadKind
) -> None:
    first, again = (shaped(ODD, wanted, payload) for _ in range(2))
    assert again == first
    now = datetime.now(UTC)
    signed = sign([SECRET], message_id=EVENT, timestamp=now, body=first.body).to_dict()
    verify({**again.headers, **signed}, again.body, SECRET, now=now)
    svix.webhooks.Webhook(SECRET.reveal()).verify(again.body, signed)
    with pytest.raises(VerificationError, match="No signature"):
        verify(signed, again.body + b" ", SECRET, now=now)


def test_a_thin_event_tells_what_happened_and_where_to_fetch_it() -> None:
    thin = shaped(ODD, PayloadFormat.STANDARD, PayloadKind.THIN)
    assert (json.loads(thin.body), thin.headers) == (NOTICE, {})


@pytest.mark.parametrize("wanted", CLOUDEVENTS)
def test_a_thin_cloudevent_has_the_same_in_place_of_its_data(wanted: PayloadFormat) -> None:
    event = read(shaped(ODD, wanted, PayloadKind.THIN))
    assert (event.get_id(), event.get_datacontenttype()) == (EVENT, "application/json")
    assert event.get_data() == NOTICE


def test_without_a_public_address_there_is_no_link() -> None:
    thin = shaped(ODD, PayloadFormat.STANDARD, PayloadKind.THIN, EventOrigin("/shops"))
    assert json.loads(thin.body) == {name: NOTICE[name] for name in ("id", "type", "timestamp")}


def test_what_a_header_cannot_hold_is_percent_encoded() -> None:
    # The example of the specification, and what must not be decoded twice.
    one = shaped(b"1", PayloadFormat.CLOUDEVENTS_BINARY, origin=EventOrigin('Euro \u20ac \U0001f600 "%20'))
    encoded = "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%2520"
    assert one.headers["ce-source"] == encoded + "/ten_01kb0w3s9qf1xv9k9m3f5ht2dn"
    assert read(one).get_source().startswith('Euro \u20ac \U0001f600 "%20/')


@pytest.mark.parametrize("wanted", PayloadFormat)
@pytest.mark.parametrize("payload", PayloadKind)
@pytest.mark.parametrize("origin", [ORIGIN, EventOrigin()])
def test_what_was_sent_is_found_by_its_hash(
    wanted: PayloadFormat, payload: PayloadKind, origin: EventOrigin
) -> None:
    body = shaped(ODD, wanted, payload, origin).body
    assert sent_again(body, stored(ODD), origin) == body


def test_later_public_url_still_finds_bodies_sent_without_links() -> None:
    body = shaped(ODD, PayloadFormat.STANDARD, PayloadKind.THIN, EventOrigin()).body
    assert sent_again(body, stored(ODD), EventOrigin(base_url="https://a.example")) == body


def test_body_built_with_other_settings_is_not_reconstructed() -> None:
    body = shaped(ODD, PayloadFormat.CLOUDEVENTS_STRUCTURED).body
    assert sent_again(body, stored(ODD), EventOrigin("/elsewhere")) is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"type":"a"}', b'{"type":"a","timestamp":"b","data":1'])
def test_what_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not an envelope"):
        PayloadFormatter(PayloadFormat.CLOUDEVENTS_BINARY, PayloadKind.FULL, TENANT, ORIGIN).format_event(
            EVENT_ID, body
        )


@pytest.mark.parametrize(
    "source",
    ["/waybill", "/", "shop", "shop/a:b", "//shop.example/a", "urn:shop:eu", "https://a.example:8/%20"],
)
def test_a_source_is_a_uri_or_its_path(source: str) -> None:
    assert parse_settings({"cloudevents_source": source}).event_origin.source == source


@pytest.mark.parametrize(
    "source", ["", ":", "1:a", "urn:", "a b", "é", "/a?b", "/a#b", "/%2", "/a\n", "/" * 201]
)
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(Misconfigured, match="WAYBILL_CLOUDEVENTS_SOURCE"):
        parse_settings({"cloudevents_source": source})
