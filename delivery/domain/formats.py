"""How an event goes out: the stored envelope, CloudEvents 1.0, with its data or without. Pure.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
(binary mode is section 3.1, structured mode 3.2). What goes out depends on nothing but the event, its
endpoint's terms and the operator's settings: every attempt under the same ones sends the same bytes.
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

# An envelope is written by delivery.pipeline.fanout; neither a type nor a moment can hold a quotation mark.
_TYPE_MARK: Final = b'{"type":"'
_TIMESTAMP_MARK: Final = b'","timestamp":"'
_DATA_MARK: Final = b'","data":'
_STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
# What stands in a header as it is: visible ASCII without the quotation mark and the percent sign (3.1.3.2).
_SAFE_HEADER_CHARS: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class PayloadFormat(StrEnum):
    """How an endpoint wants its events to be written."""

    STANDARD = "standard"
    CLOUDEVENTS_STRUCTURED = "cloudevents_structured"
    CLOUDEVENTS_BINARY = "cloudevents_binary"


class PayloadKind(StrEnum):
    """Whether an endpoint gets the event's data, or only word that there is an event."""

    FULL = "full"
    THIN = "thin"


class FormattedPayload(NamedTuple):
    """What goes out: the body, which is what is signed, and the headers that this shape needs."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """What the operator says of where events come from.

    `source` begins the `source` of CloudEvents, a URI reference; `base_url` is where the API is reached,
    such as `https://waybill.example`. None: thin events have no link.
    """

    source: str = "/waybill"
    base_url: str | None = None

    def build_source(self, tenant_id: TenantId) -> str:
        """The `source` of a tenant's events: with it, no two tenants' events share `source` and `id`."""
        return f"{self.source.rstrip('/')}/{format_id(Prefix.TENANT, tenant_id)}"

    def build_event_url(self, event_id: str) -> str | None:
        """Where an event is read."""
        return None if self.base_url is None else f"{self.base_url}/v1/events/{event_id}"


@dataclass(frozen=True, slots=True)
class PayloadFormatter:
    """How a tenant's events go out to an endpoint that wants something else than the stored envelope."""

    format: PayloadFormat
    payload: PayloadKind
    tenant_id: TenantId
    origin: EventOrigin

    def format_event(self, event_id: EventId, envelope: bytes) -> FormattedPayload:
        """Make what goes out of an event's stored envelope; not a byte of the data is written anew."""
        shown = format_id(Prefix.EVENT, event_id)
        type_, timestamp, data = _parse_envelope(envelope)
        if self.payload is PayloadKind.THIN:
            data = _build_thin_body(shown, type_, timestamp, self.origin.build_event_url(shown))
        if self.format is PayloadFormat.STANDARD:
            return FormattedPayload(envelope if self.payload is PayloadKind.FULL else data, {})
        attributes = {
            "specversion": "1.0",
            "id": shown,
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
    """The shape that an endpoint's terms ask for; None: the stored envelope as it is, which nobody reads."""
    if payload_format is PayloadFormat.STANDARD and payload is PayloadKind.FULL:
        return None
    return PayloadFormatter(payload_format, payload, tenant_id, origin)


def reconstruct_body(
    sha256: bytes, event_id: EventId, envelope: bytes, *, tenant_id: TenantId, origin: EventOrigin
) -> bytes | None:
    """The body with this hash that was made of an event; None: no shape makes it today.

    Such is a body from before the operator's settings changed, or one read where they are others.
    """
    if hashlib.sha256(envelope).digest() == sha256:
        return envelope
    for wanted, payload in product(PayloadFormat, PayloadKind):
        for known in (origin, EventOrigin(origin.source)):
            body = PayloadFormatter(wanted, payload, tenant_id, known).format_event(event_id, envelope).body
            if hashlib.sha256(body).digest() == sha256:
                return body
    return None


def _build_thin_body(event_id: str, type_: str, timestamp: str, link: str | None) -> bytes:
    told = {"id": event_id, "type": type_, "timestamp": timestamp}
    return _encode_json(told if link is None else told | {"url": link})


def _build_headers(attributes: Mapping[str, str]) -> dict[str, str]:
    return {f"ce-{name}": quote(value, safe=_SAFE_HEADER_CHARS) for name, value in attributes.items()}


def _parse_envelope(envelope: bytes) -> tuple[str, str, bytes]:
    """The type, the moment and the bytes of the data."""
    type_, timed, rest = envelope.removeprefix(_TYPE_MARK).partition(_TIMESTAMP_MARK)
    timestamp, parted, data = rest.partition(_DATA_MARK)
    if not (envelope.startswith(_TYPE_MARK) and timed and parted and data.endswith(b"}")):
        raise ValueError("What is kept of the event is no envelope.")
    return type_.decode(), timestamp.decode(), data[:-1]


def _encode_json(members: Mapping[str, str]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
