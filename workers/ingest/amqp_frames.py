"""What strangers write before a message's body, read so that nothing of it can raise.

pika reads a message's properties before it hands the message over, and in the loop that reads the socket: a
header that it cannot hold (a date before 1970, a number that is none, tables within tables within tables)
ends the connection there. The message goes back to the head of its queue, and the next connection ends
likewise. So this connection reads that one kind of frame itself, and no more of it than ingest needs.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pika import BasicProperties, frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGINNING: Final = struct.Struct(">BHL")  # of a frame: kind, channel, size of its payload
_CONTENT: Final = struct.Struct(">HHQ")  # of a content header: class, weight, size of the body
_LENGTH: Final = struct.Struct(">I")
# How long the values of a header are, by kind, as RabbitMQ writes them. Others tell their length themselves.
_FIXED: Final = {
    **dict.fromkeys((b"t", b"b", b"B"), 1),
    **dict.fromkeys((b"U", b"u", b"s"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    **dict.fromkeys((b"L", b"l", b"d", b"T"), 8),
    b"D": 5,
    b"V": 0,
}
_TEXTS: Final = frozenset({b"S", b"x"})
_NESTED: Final = frozenset({b"A", b"F"})


class CalmConnection(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection, except for how the properties of messages are read.

    `_read_frame` is pika's own seam between bytes and frames; all but whole content headers go on to pika.
    """

    def _read_frame(self) -> tuple[int, Any]:
        read = read_content_header(self._frame_buffer)
        return super()._read_frame() if read is None else read


def read_content_header(buffer: bytes) -> tuple[int, frame.Header] | None:
    """The content header that a buffer begins with, and how many bytes it takes; None if it does not.

    AMQP 0-9-1, sections 2.3.5.2 and 4.2.6.1.
    """
    if buffer[:1] != bytes([spec.FRAME_HEADER]) or len(buffer) < _BEGINNING.size:
        return None
    _, channel, size = _BEGINNING.unpack_from(buffer)
    end = _BEGINNING.size + size
    if size < _CONTENT.size or len(buffer) <= end or buffer[end] != spec.FRAME_END:
        return None
    payload = buffer[_BEGINNING.size : end]
    _, _, body_size = _CONTENT.unpack_from(payload)
    return end + 1, frame.Header(channel, body_size, read_properties(payload[_CONTENT.size :]))


def read_properties(encoded: bytes) -> BasicProperties:
    """The properties of a message; what cannot be read is left out.

    Text is always text, whatever its bytes are. Of the headers there are those that are text.
    """
    properties = BasicProperties()
    with suppress(struct.error, IndexError):  # it ends too early
        flags = more = _flags(encoded, 0)
        offset = 2
        while more & 1:
            more = _flags(encoded, offset)
            offset += 2
        for place, (name, read) in enumerate(_PROPERTIES):
            if flags & (1 << (15 - place)):
                value, offset = read(encoded, offset)
                setattr(properties, name, value)
    return properties


def _flags(encoded: bytes, offset: int) -> int:
    return int.from_bytes(encoded[offset : offset + 2], "big")


def _octet(encoded: bytes, offset: int) -> tuple[int, int]:
    return encoded[offset], offset + 1


def _moment(encoded: bytes, offset: int) -> tuple[int, int]:
    return int.from_bytes(encoded[offset : offset + 8], "big"), offset + 8


def _text(encoded: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + encoded[offset]
    return encoded[offset + 1 : end].decode(errors="replace"), end


def _headers(encoded: bytes, offset: int) -> tuple[dict[str, str], int]:
    """The headers that are text. Others are passed over by their length; an unknown kind ends them."""
    (size,) = _LENGTH.unpack_from(encoded, offset)
    offset += _LENGTH.size
    end = offset + size
    found: dict[str, str] = {}
    with suppress(struct.error, IndexError):
        while offset < end:
            name, offset = _text(encoded, offset)
            kind = encoded[offset : offset + 1]
            offset += 1
            if kind in _FIXED:
                offset += _FIXED[kind]
            elif kind in _TEXTS or kind in _NESTED:
                (length,) = _LENGTH.unpack_from(encoded, offset)
                offset += _LENGTH.size + length
                if kind in _TEXTS:
                    found[name] = encoded[offset - length : offset].decode(errors="replace")
            else:
                break
    return found, end


# Section 1.8.3: in the order of their flags, the highest first.
_PROPERTIES: Final[tuple[tuple[str, Callable[[bytes, int], tuple[Any, int]]], ...]] = (
    ("content_type", _text),
    ("content_encoding", _text),
    ("headers", _headers),
    ("delivery_mode", _octet),
    ("priority", _octet),
    ("correlation_id", _text),
    ("reply_to", _text),
    ("expiration", _text),
    ("message_id", _text),
    ("timestamp", _moment),
    ("type", _text),
    ("user_id", _text),
    ("app_id", _text),
    ("cluster_id", _text),
)
