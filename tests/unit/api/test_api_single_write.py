"""A response's head and body are written together, and nothing stays buffered."""

from __future__ import annotations

import asyncio

from delivery.api.http.single_write import CoalescingTransport

HEAD, BODY = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n", b"{}"


class Wire(asyncio.Transport):
    """Records each write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.pieces: list[bytes | None] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(None)


async def test_head_and_body_are_written_together() -> None:
    wire = Wire()
    writing = CoalescingTransport(wire)
    for _ in range(2):
        writing.write(HEAD)
        writing.write(BODY)
    assert wire.pieces == [HEAD + BODY] * 2
    await asyncio.sleep(0)
    assert wire.pieces == [HEAD + BODY] * 2


async def test_a_head_without_a_body_is_written_alone() -> None:
    wire = Wire()
    CoalescingTransport(wire).write(HEAD)
    await asyncio.sleep(0)
    assert wire.pieces == [HEAD]


async def test_a_late_body_does_not_delay_the_head() -> None:
    wire = Wire()
    writing = CoalescingTransport(wire)
    writing.write(HEAD)
    await asyncio.sleep(0)
    for piece in (b"one", b"two"):
        writing.write(piece)
    assert wire.pieces == [HEAD, b"one", b"two"]


async def test_a_buffered_head_is_written_before_closing() -> None:
    wire = Wire()
    writing = CoalescingTransport(wire)
    writing.write(HEAD)
    writing.close()
    await asyncio.sleep(0)
    assert wire.pieces == [HEAD, None]


async def test_everything_else_is_delegated_to_the_transport() -> None:
    assert CoalescingTransport(Wire()).get_extra_info("peername") == ("192.0.2.1", 1)
