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

_FRAME_HEADER: Final = struct.Struct(">BHL")  # of a frame: kind, channel, size of its payload
_CONTENT_HEADER: Final = struct.Struct(">HHQ")  # of a content header: class, weight, size of the body
_LENGTH_PREFIX: Final = struct.Struct(">I")
# How long the values of a header are, by kind, as RabbitMQ writes them. Others tell their length themselves.
_FIXED_SIZES: Final = {
    **dict.fromkeys((b"t", b"b", b"B"), 1),
    **dict.fromkeys((b"U", b"u", b"s"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    **dict.fromkeys((b"L", b"l", b"d", b"T"), 8),
    b"D": 5,
    b"V": 0,
}
_TEXT_KINDS: Final = frozenset({b"S", b"x"})
_NESTED_KINDS: Final = frozenset({b"A", b"F"})


class TolerantConnection(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection, except for how the properties of messages are read.

    `_read_frame` is pika's own seam between bytes and frames; all but whole content headers go on to pika.
    """

    def _read_frame(self) -> tuple[int, Any]:
        read = parse_content_header(self._frame_buffer)
        return super()._read_frame() if read is None else read


def parse_content_header(buffer: bytes) -> tuple[int, frame.Header] | None:
    """The content header that a buffer begins with, and how many bytes it takes; None if it does not.

    AMQP 0-9-1, sections 2.3.5.2 and 4.2.6.1.
    """
    if buffer[:1] != bytes([spec.FRAME_HEADER]) or len(buffer) < _FRAME_HEADER.size:
        return None
    _, channel, size = _FRAME_HEADER.unpack_from(buffer)
    end = _FRAME_HEADER.size + size
    if size < _CONTENT_HEADER.size or len(buffer) <= end or buffer[end] != spec.FRAME_END:
        return None
    payload = buffer[_FRAME_HEADER.size : end]
    _, _, body_size = _CONTENT_HEADER.unpack_from(payload)
    return end + 1, frame.Header(channel, body_size, parse_properties(payload[_CONTENT_HEADER.size :]))


def parse_properties(encoded: bytes) -> BasicProperties:
    """The properties of a message; what cannot be read is left out.

    Text is always text, whatever its bytes are. Of the headers there are those that are text.
    """
    properties = BasicProperties()
    with suppress(struct.error, IndexError):  # it ends too early
        flags = more = _parse_flags(encoded, 0)
        offset = 2
        while more & 1:
            more = _parse_flags(encoded, offset)
            offset += 2
        for place, (name, read) in enumerate(_PROPERTIES):
            if flags & (1 << (15 - place)):
                value, offset = read(encoded, offset)
                setattr(properties, name, value)
    return properties


def _parse_flags(encoded: bytes, offset: int) -> int:
    return int.from_bytes(encoded[offset : offset + 2], "big")


def _parse_octet(encoded: bytes, offset: int) -> tuple[int, int]:
    return encoded[offset], offset + 1


def _parse_timestamp(encoded: bytes, offset: int) -> tuple[int, int]:
    return int.from_bytes(encoded[offset : offset + 8], "big"), offset + 8


def _parse_text(encoded: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + encoded[offset]
    return encoded[offset + 1 : end].decode(errors="replace"), end


def _parse_headers(encoded: bytes, offset: int) -> tuple[dict[str, str], int]:
    """The headers that are text. Others are passed over by their length; an unknown kind ends them."""
    (size,) = _LENGTH_PREFIX.unpack_from(encoded, offset)
    offset += _LENGTH_PREFIX.size
    end = offset + size
    found: dict[str, str] = {}
    with suppress(struct.error, IndexError):
        while offset < end:
            name, offset = _parse_text(encoded, offset)
            kind = encoded[offset : offset + 1]
            offset += 1
            if kind in _FIXED_SIZES:
                offset += _FIXED_SIZES[kind]
            elif kind in _TEXT_KINDS or kind in _NESTED_KINDS:
                (length,) = _LENGTH_PREFIX.unpack_from(encoded, offset)
                offset += _LENGTH_PREFIX.size + length
                if kind in _TEXT_KINDS:
                    found[name] = encoded[offset - length : offset].decode(errors="replace")
            else:
                break
    return found, end


# Section 1.8.3: in the order of their flags, the highest first.
_PROPERTIES: Final[tuple[tuple[str, Callable[[bytes, int], tuple[Any, int]]], ...]] = (
    ("content_type", _parse_text),
    ("content_encoding", _parse_text),
    ("headers", _parse_headers),
    ("delivery_mode", _parse_octet),
    ("priority", _parse_octet),
    ("correlation_id", _parse_text),
    ("reply_to", _parse_text),
    ("expiration", _parse_text),
    ("message_id", _parse_text),
    ("timestamp", _parse_timestamp),
    ("type", _parse_text),
    ("user_id", _parse_text),
    ("app_id", _parse_text),
    ("cluster_id", _parse_text),
)
