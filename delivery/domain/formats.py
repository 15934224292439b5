"""How an event goes out: the stored envelope, CloudEvents 1.0, with its data or without. Pure.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
(binary mode is section 3.1, structured mode 3.2). What goes out depends on nothing but the event, its
endpoint's terms and the operator's settings: every attempt under the same ones sends the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from delivery.model import Format, PayloadKind, Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.model import EventId, TenantId

# An envelope is written by delivery.accept.draft; neither a type nor a moment can hold a quotation mark.
_TYPE: Final = b'{"type":"'
_TIMESTAMP: Final = b'","timestamp":"'
_DATA: Final = b'","data":'
_STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
# What stands in a header as it is: visible ASCII without the quotation mark and the percent sign (3.1.3.2).
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class Shaped(NamedTuple):
    """What goes out: the body, which is what is signed, and the headers that this shape needs."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the operator says of where events come from.

    `source` begins the `source` of CloudEvents, a URI reference; `base_url` is where the API is reached,
    such as `https://waybill.example`. None: thin events have no link.
    """

    source: str = "/waybill"
    base_url: str | None = None

    def source_of(self, tenant_id: TenantId) -> str:
        """The `source` of a tenant's events: with it, no two tenants' events share `source` and `id`."""
        return f"{self.source.rstrip('/')}/{show_id(Prefix.TENANT, tenant_id)}"

    def link_to(self, event_id: str) -> str | None:
        """Where an event is read."""
        return None if self.base_url is None else f"{self.base_url}/v1/events/{event_id}"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a tenant's events go out to an endpoint that wants something else than the stored envelope."""

    format: Format
    payload: PayloadKind
    tenant_id: TenantId
    origin: Origin

    def of(self, event_id: EventId, envelope: bytes) -> Shaped:
        """Make what goes out of an event's stored envelope; not a byte of the data is written anew."""
        shown = show_id(Prefix.EVENT, event_id)
        type_, timestamp, data = _read(envelope)
        if self.payload is PayloadKind.THIN:
            data = _thin(shown, type_, timestamp, self.origin.link_to(shown))
        if self.format is Format.STANDARD:
            return Shaped(envelope if self.payload is PayloadKind.FULL else data, {})
        attributes = {
            "specversion": "1.0",
            "id": shown,
            "source": self.origin.source_of(self.tenant_id),
            "type": type_,
            "time": timestamp,
        }
        if self.format is Format.CLOUDEVENTS_BINARY:
            return Shaped(data, _headers(attributes))
        head = _json(attributes | {"datacontenttype": "application/json"})
        return Shaped(b'%b,"data":%b}' % (head[:-1], data), {"content-type": _STRUCTURED})


def shape_of(wanted: Format, payload: PayloadKind, *, tenant_id: TenantId, origin: Origin) -> Shape | None:
    """The shape that an endpoint's terms ask for; None: the stored envelope as it is, which nobody reads."""
    if wanted is Format.STANDARD and payload is PayloadKind.FULL:
        return None
    return Shape(wanted, payload, tenant_id, origin)


def sent_as(
    sha256: bytes, event_id: EventId, envelope: bytes, *, tenant_id: TenantId, origin: Origin
) -> bytes | None:
    """The body with this hash that was made of an event; None: no shape makes it today.

    Such is a body from before the operator's settings changed, or one read where they are others.
    """
    if hashlib.sha256(envelope).digest() == sha256:
        return envelope
    for wanted, payload in product(Format, PayloadKind):
        for known in (origin, Origin(origin.source)):
            body = Shape(wanted, payload, tenant_id, known).of(event_id, envelope).body
            if hashlib.sha256(body).digest() == sha256:
                return body
    return None


def _thin(event_id: str, type_: str, timestamp: str, link: str | None) -> bytes:
    told = {"id": event_id, "type": type_, "timestamp": timestamp}
    return _json(told if link is None else told | {"url": link})


def _headers(attributes: Mapping[str, str]) -> dict[str, str]:
    return {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}


def _read(envelope: bytes) -> tuple[str, str, bytes]:
    """The type, the moment and the bytes of the data."""
    type_, timed, rest = envelope.removeprefix(_TYPE).partition(_TIMESTAMP)
    timestamp, parted, data = rest.partition(_DATA)
    if not (envelope.startswith(_TYPE) and timed and parted and data.endswith(b"}")):
        raise ValueError("What is kept of the event is no envelope.")
    return type_.decode(), timestamp.decode(), data[:-1]


def _json(members: Mapping[str, str]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
