"""`python -m benchmarks.receiver PORT`: answers every POST with 200 at once, and prints what it counted.

Raw asyncio on uvloop, so that the receiver is not what is measured. Any GET is answered with the count.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection: requests come one after another, each answered as soon as it is whole."""

    received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (head_end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:head_end].lower()
            at = head.find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            end = head_end + len(_HEAD_END) + length
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"get"):
            count = str(Receiver.received).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))
        else:
            Receiver.received += 1
            self._transport.write(_OK)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
