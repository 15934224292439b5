"""Payload formats: the stored envelope or CloudEvents 1.0, with the event's data or without (thin). Pure.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
(binary mode is section 3.1, structured mode 3.2). The body depends only on the event, its endpoint's
settings and the operator's: every attempt under the same settings sends the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from delivery.domain.ids import Prefix, format_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.domain.ids import EventId, TenantId

# Envelopes are written by delivery.pipeline.fanout; types and timestamps cannot contain a quotation mark.
_TYPE_MARK: Final = b'{"type":"'
_TIMESTAMP_MARK: Final = b'","timestamp":"'
_DATA_MARK: Final = b'","data":'
_STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
# Characters that need no escape in a header: visible ASCII but the quotation mark and percent sign (3.1.3.2).
_SAFE_HEADER_CHARS: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class PayloadFormat(StrEnum):
    """The format of an endpoint's requests."""

    STANDARD = "standard"
    CLOUDEVENTS_STRUCTURED = "cloudevents_structured"
    CLOUDEVENTS_BINARY = "cloudevents_binary"


class PayloadKind(StrEnum):
    """Whether an endpoint gets the event's data, or only a notice that there is an event."""

    FULL = "full"
    THIN = "thin"


class FormattedPayload(NamedTuple):
    """The body, which is signed, and the headers of the format."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """Where events come from, by the operator's settings.

    `source` is the prefix of the CloudEvents `source`, a URI reference; `base_url` is the API's URL, such as
    `https://waybill.example`. None: thin events have no link.
    """

    source: str = "/waybill"
    base_url: str | None = None

    def build_source(self, tenant_id: TenantId) -> str:
        """The `source` of a tenant's events: with it, no two tenants' events share `source` and `id`."""
        return f"{self.source.rstrip('/')}/{format_id(Prefix.TENANT, tenant_id)}"

    def build_event_url(self, event_id: str) -> str | None:
        """The API's URL of an event."""
        return None if self.base_url is None else f"{self.base_url}/v1/events/{event_id}"


@dataclass(frozen=True, slots=True)
class PayloadFormatter:
    """Writes a tenant's events for an endpoint whose format is not the stored envelope."""

    format: PayloadFormat
    payload: PayloadKind
    tenant_id: TenantId
    origin: EventOrigin

    def format_event(self, event_id: EventId, envelope: bytes) -> FormattedPayload:
        """Format an event's stored envelope; the bytes of `data` are copied unchanged."""
        public_id = format_id(Prefix.EVENT, event_id)
        type_, timestamp, data = _parse_envelope(envelope)
        if self.payload is PayloadKind.THIN:
            data = _build_thin_body(public_id, type_, timestamp, self.origin.build_event_url(public_id))
        if self.format is PayloadFormat.STANDARD:
            return FormattedPayload(envelope if self.payload is PayloadKind.FULL else data, {})
        attributes = {
            "specversion": "1.0",
            "id": public_id,
            "source": self.origin.build_source(self.tenant_id),
            "type": type_,
            "time": timestamp,
        }
        if self.format is PayloadFormat.CLOUDEVENTS_BINARY:
            return FormattedPayload(data, _build_headers(attributes))
        head = _encode_json(attributes | {"datacontenttype": "application/json"})
        return FormattedPayload(
            b'%b,"data":%b}' % (head[:-1], data), {"content-type": _STRUCTURED_CONTENT_TYPE}
        )


def build_formatter(
    payload_format: PayloadFormat, payload: PayloadKind, *, tenant_id: TenantId, origin: EventOrigin
) -> PayloadFormatter | None:
    """The formatter for an endpoint's settings; None: the stored envelope is sent unchanged."""
    if payload_format is PayloadFormat.STANDARD and payload is PayloadKind.FULL:
        return None
    return PayloadFormatter(payload_format, payload, tenant_id, origin)


def reconstruct_body(
    sha256: bytes, event_id: EventId, envelope: bytes, *, tenant_id: TenantId, origin: EventOrigin
) -> bytes | None:
    """Rebuild the body with this hash from an event; None: no format yields it with the current settings."""
    if hashlib.sha256(envelope).digest() == sha256:
        return envelope
    for payload_format, payload in product(PayloadFormat, PayloadKind):
        for candidate in (origin, EventOrigin(origin.source)):
            body = (
                PayloadFormatter(payload_format, payload, tenant_id, candidate)
                .format_event(event_id, envelope)
                .body
            )
            if hashlib.sha256(body).digest() == sha256:
                return body
    return None


def _build_thin_body(event_id: str, type_: str, timestamp: str, link: str | None) -> bytes:
    members = {"id": event_id, "type": type_, "timestamp": timestamp}
    return _encode_json(members if link is None else members | {"url": link})


def _build_headers(attributes: Mapping[str, str]) -> dict[str, str]:
    return {f"ce-{name}": quote(value, safe=_SAFE_HEADER_CHARS) for name, value in attributes.items()}


def _parse_envelope(envelope: bytes) -> tuple[str, str, bytes]:
    """The type, the timestamp and the bytes of the data."""
    type_, timed, rest = envelope.removeprefix(_TYPE_MARK).partition(_TIMESTAMP_MARK)
    timestamp, parted, data = rest.partition(_DATA_MARK)
    if not (envelope.startswith(_TYPE_MARK) and timed and parted and data.endswith(b"}")):
        raise ValueError("The stored event is not an envelope.")
    return type_.decode(), timestamp.decode(), data[:-1]


def _encode_json(members: Mapping[str, str]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
