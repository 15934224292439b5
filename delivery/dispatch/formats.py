"""The shapes that an event goes out in: the stored envelope, CloudEvents 1.0, with its data or without. Pure.

CloudEvents: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
(structured mode is section 3.2, binary mode 3.1; `dataref` is the extension for data kept elsewhere).
A shape depends on nothing but the event and the endpoint's terms, so every attempt sends the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from delivery.model import Format, PayloadKind

if TYPE_CHECKING:
    from collections.abc import Mapping

# An envelope is written by delivery.accept.draft; neither a type nor a moment can hold a quotation mark.
_TYPE: Final = b'{"type":"'
_TIMESTAMP: Final = b'","timestamp":"'
_DATA: Final = b'","data":'
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
# What stands in a header as it is: visible ASCII without the quotation mark and the percent sign (3.1.3.2).
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


@dataclass(frozen=True, slots=True)
class Shaped:
    """What goes out: the body, which is what is signed, and the headers that this shape needs."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """An endpoint's shape. `source` names who sends, a URI reference; `link` begins the links of thin events.

    `link` is such as `https://waybill.example/v1/events/`; None: thin events have no link.
    """

    format: Format = Format.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    source: str = "waybill"
    link: str | None = None

    def of(self, event_id: str, envelope: bytes) -> Shaped:
        """Make an event's shape of its stored envelope; raises ValueError when that is no envelope.

        For `standard` and `full` it is the envelope itself, unread.
        """
        thin = self.payload is PayloadKind.THIN
        if self.format is Format.STANDARD and not thin:
            return Shaped(envelope, _NONE)
        type_, timestamp, data = _read(envelope)
        link = None if self.link is None or not thin else self.link + event_id
        if self.format is Format.STANDARD:
            told = {"id": event_id, "type": type_, "timestamp": timestamp}
            return Shaped(_json(told if link is None else told | {"url": link}), _NONE)
        attributes = {
            "specversion": "1.0",
            "id": event_id,
            "source": self.source,
            "type": type_,
            "time": timestamp,
        }
        if link is not None:
            attributes["dataref"] = link
        kept = None if thin else data
        return _structured(attributes, kept) if self._is_structured else _binary(attributes, kept)

    @property
    def _is_structured(self) -> bool:
        return self.format is Format.CLOUDEVENTS_STRUCTURED


def _structured(attributes: Mapping[str, str], data: bytes | None) -> Shaped:
    headers = {"content-type": "application/cloudevents+json"}
    if data is None:
        return Shaped(_json(attributes), headers)
    head = _json({**attributes, "datacontenttype": "application/json"})
    # Spliced in, so that not a byte of the data is written anew.
    return Shaped(b'%b,"data":%b}' % (head[:-1], data), headers)


def _binary(attributes: Mapping[str, str], data: bytes | None) -> Shaped:
    return Shaped(
        data or b"", {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in attributes.items()}
    )


def _read(envelope: bytes) -> tuple[str, str, bytes]:
    """The type, the moment and the bytes of the data."""
    type_, timed, rest = envelope.removeprefix(_TYPE).partition(_TIMESTAMP)
    timestamp, parted, data = rest.partition(_DATA)
    if not (envelope.startswith(_TYPE) and timed and parted and data.endswith(b"}")):
        raise ValueError("What is kept of the event is no envelope.")
    return type_.decode(), timestamp.decode(), data[:-1]


def _json(members: Mapping[str, str]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
