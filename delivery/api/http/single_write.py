"""Write a response's head together with the start of its body: one system call and one segment, not two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Transport

_HEAD = b"HTTP/1.1 "


class CoalescingTransport:
    """A transport that buffers a response's head until its body is written or the loop's next iteration.

    uvicorn writes head and body separately, and uvloop sends each immediately.
    """

    __slots__ = ("_loop", "_pending_head", "_transport")

    def __init__(self, transport: Transport) -> None:
        """Write to this transport; everything else is delegated to it."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pending_head = b""

    def write(self, data: bytes) -> None:
        """Buffer a head; send everything else at once."""
        if self._pending_head:
            head, self._pending_head = self._pending_head, b""
            self._transport.write(head + data)
        elif data.startswith(_HEAD):
            self._pending_head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the transport after sending the buffered head."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending_head:
            head, self._pending_head = self._pending_head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        """Delegate to the transport."""
        return getattr(self._transport, name)
