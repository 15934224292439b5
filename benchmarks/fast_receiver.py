"""`python -m benchmarks.fast_receiver PORT`: answer every POST with 200 at once, and count.

Raw asyncio on uvloop, so that the receiver is not the limit. Paths that begin with `/never` get no answer.
GET `/-/keep/PREFIX` starts recording arrivals at paths with this prefix, GET `/-/kept` returns them as JSON,
and `/-/unanswered` counts connections that wait for an answer. Any other GET returns the number of requests.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_ID = b"webhook-id: "
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_RECORD_PATH, _RECORDED_PATH, _UNANSWERED_PATH = b"/-/keep", b"/-/kept", b"/-/unanswered"


class BenchReceiver(asyncio.Protocol):
    """A connection; each request is answered as soon as it is complete."""

    received = 0
    unanswered = 0
    recorded_prefix: bytes | None = None
    recorded: list[tuple[str, int]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for answers."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""
        self._waits = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting this connection as unanswered."""
        del exc
        BenchReceiver.unanswered -= self._waits
        self._waits = False

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._buffer = self._buffer + data if self._buffer else data
        while (head_end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:head_end].lower()
            end = head_end + len(_HEAD_END) + int(_find_header(head, _LENGTH) or 0)
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if method == b"get":
            content = self._handle_query(path)
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
            )
            return
        BenchReceiver.received += 1
        if BenchReceiver.recorded_prefix is not None and path.startswith(BenchReceiver.recorded_prefix):
            BenchReceiver.recorded.append((_find_header(head, _ID).decode(), time.time_ns()))
        if not path.startswith(b"/never"):
            self._transport.write(_OK)
        elif not self._waits:
            self._waits = True
            BenchReceiver.unanswered += 1

    @staticmethod
    def _handle_query(path: bytes) -> bytes:
        if path == _RECORDED_PATH:
            content, BenchReceiver.recorded = json.dumps(BenchReceiver.recorded).encode(), []
            return content
        if path == _UNANSWERED_PATH:
            return str(BenchReceiver.unanswered).encode()
        if path.startswith(_RECORD_PATH):
            BenchReceiver.recorded_prefix, BenchReceiver.recorded = path[len(_RECORD_PATH) :], []
        return str(BenchReceiver.received).encode()


def _find_header(head: bytes, name: bytes) -> bytes:
    at = head.find(name)
    return head[at + len(name) :].split(b"\r\n", 1)[0] if at >= 0 else b""


async def main(port: int) -> None:
    """Serve until killed."""
    BenchReceiver.recorded = []
    server = await asyncio.get_running_loop().create_server(BenchReceiver, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
