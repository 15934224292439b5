"""The requests in `docs/formats.md` are those that go out, to the byte, and verify."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from delivery.domain.formats import EventOrigin, PayloadFormat, PayloadFormatter, PayloadKind
from delivery.domain.ids import EventId, Prefix, TenantId, parse_id
from delivery.pipeline.attempt import DEFAULT_HEADERS, SEQUENCE_HEADER
from signing import generate_hmac, sign, verify
from tests.support.stack import ROOT

TEXT: Final = (ROOT / "docs" / "formats.md").read_text()
EVENT: Final = "evt_01kb0w3s9qf1xv9k9m3f5ht2dn"
TENANT: Final = "ten_01kayxzc3jfv7r4w8m2q5ht9be"
NOW: Final = datetime(2025, 11, 26, 12, tzinfo=UTC)
SECRET: Final = generate_hmac(b"a key for examples alone, 32 chs")
ORIGIN: Final = EventOrigin("https://shop.example", "https://waybill.example")
ENVELOPE: Final = (
    '{"type":"order.created","timestamp":"2025-11-26T12:00:00.000Z","data":{"order": 1042, "who": "Zoë"}}'
)
SHAPES: Final = [(wanted, payload) for payload in PayloadKind for wanted in PayloadFormat]
_REQUEST: Final = re.compile(r"(?ms)^```http\n(POST /hooks HTTP/1\.1\n.*?\n)```$")


def sent(wanted: PayloadFormat, payload: PayloadKind) -> tuple[dict[str, str], bytes]:
    """The request to an endpoint with these terms: headers of ours, and the body."""
    tenant_id = TenantId(parse_id(Prefix.TENANT, TENANT))
    shape = PayloadFormatter(wanted, payload, tenant_id, ORIGIN)
    shaped = shape.format_event(EventId(parse_id(Prefix.EVENT, EVENT)), ENVELOPE.encode())
    signed = sign([SECRET], message_id=EVENT, timestamp=NOW, body=shaped.body)
    return {**DEFAULT_HEADERS, **shaped.headers, **signed.to_dict(), SEQUENCE_HEADER: "1042"}, shaped.body


def written(headers: dict[str, str], body: bytes) -> str:
    lines = ["POST /hooks HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join([*lines, "", body.decode(), ""])


@pytest.mark.parametrize(("wanted", "payload"), SHAPES)
def test_each_request_stands_on_the_page_as_it_goes_out(wanted: PayloadFormat, payload: PayloadKind) -> None:
    assert written(*sent(wanted, payload)) in _REQUEST.findall(TEXT)


def test_the_page_shows_no_other_request() -> None:
    assert len(_REQUEST.findall(TEXT)) == len(SHAPES)


@pytest.mark.parametrize("request_", _REQUEST.findall(TEXT))
def test_a_reader_can_verify_each_with_the_secret_of_the_page(request_: str) -> None:
    head, _, body = request_.removesuffix("\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert SECRET.reveal() in TEXT
    verify(headers, body.encode(), SECRET, now=NOW)
    if "ce-id" in headers or "cloudevents" in headers["content-type"]:
        event = from_http_event(HTTPMessage(headers, body.encode()))
        assert (event.get_id(), event.get_source()) == (EVENT, f"https://shop.example/{TENANT}")


def test_the_page_names_every_choice() -> None:
    assert all(f"`{one}`" in TEXT for one in [*PayloadFormat, *PayloadKind])
