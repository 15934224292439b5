"""`python -m benchmarks.fast_receiver PORT`: answers every POST with 200 at once, and counts.

Raw asyncio on uvloop, so that the receiver is not what is measured. Paths that begin with `/never` get no
answer at all. GET `/-/keep/PREFIX` has it note when requests to paths with this beginning arrive, GET
`/-/kept` tells what was noted since, as JSON, and `/-/unanswered` how many connections wait for an answer
that never comes; any other GET is answered with the count.
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
    """One connection: requests come one after another, each answered as soon as it is whole."""

    received = 0
    unanswered = 0
    recorded_prefix: bytes | None = None
    recorded: list[tuple[str, int]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""
        self._waits = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits here any more."""
        del exc
        BenchReceiver.unanswered -= self._waits
        self._waits = False

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
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
            told = self._handle_query(path)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
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
            told, BenchReceiver.recorded = json.dumps(BenchReceiver.recorded).encode(), []
            return told
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
