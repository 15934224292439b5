"""An answer's head leaves together with the first of its body: one system call, and one segment, not two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Transport

_HEAD = b"HTTP/1.1 "


class CoalescingTransport:
    """A transport that keeps an answer's head until its body comes, or until the loop's next turn.

    uvicorn writes the two one after the other, and uvloop sends each at once.
    """

    __slots__ = ("_loop", "_pending_head", "_transport")

    def __init__(self, transport: Transport) -> None:
        """Write to this transport. All that is not writing is its own."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pending_head = b""

    def write(self, data: bytes) -> None:
        """Send it: a head soon, everything else at once."""
        if self._pending_head:
            held, self._pending_head = self._pending_head, b""
            self._transport.write(held + data)
        elif data.startswith(_HEAD):
            self._pending_head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close it when everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending_head:
            held, self._pending_head = self._pending_head, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        """All else is as the transport has it."""
        return getattr(self._transport, name)
