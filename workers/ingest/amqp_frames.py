"""Parses the properties of AMQP messages so that no message can break the connection.

pika parses a message's properties in the loop that reads the socket. A header that it cannot represent (a
date before 1970, an invalid number, deeply nested tables) raises there and ends the connection. The message
goes back to the head of its queue, and ends the next connection likewise. So this connection parses that kind
of frame itself, and only the parts that ingest needs.
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
# The sizes of header values by kind, as RabbitMQ writes them. Values of other kinds have a length prefix.
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
    """pika's connection with our own parser for the properties of messages.

    pika splits bytes into frames in `_read_frame`; everything but complete content headers is left to it.
    """

    def _read_frame(self) -> tuple[int, Any]:
        parsed = parse_content_header(self._frame_buffer)
        return super()._read_frame() if parsed is None else parsed


def parse_content_header(buffer: bytes) -> tuple[int, frame.Header] | None:
    """Parse a content header at the start of a buffer, and return its size and itself; None if there is none.

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
    """Parse the properties of a message; unreadable ones are left out.

    Bytes that are not UTF-8 are replaced. Of the headers, only those that are text are returned.
    """
    properties = BasicProperties()
    with suppress(struct.error, IndexError):  # truncated
        flags = more = _parse_flags(encoded, 0)
        offset = 2
        while more & 1:
            more = _parse_flags(encoded, offset)
            offset += 2
        for position, (name, parse) in enumerate(_PROPERTIES):
            if flags & (1 << (15 - position)):
                value, offset = parse(encoded, offset)
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
    """Parse the headers that are text. Others are skipped by their size; an unknown kind ends the parsing."""
    (size,) = _LENGTH_PREFIX.unpack_from(encoded, offset)
    offset += _LENGTH_PREFIX.size
    end = offset + size
    headers: dict[str, str] = {}
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
                    headers[name] = encoded[offset - length : offset].decode(errors="replace")
            else:
                break
    return headers, end


# Section 1.8.3, in the order of their flags, the highest first.
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
