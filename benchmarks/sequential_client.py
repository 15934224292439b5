"""A client that posts one event after another over one connection, and records the times."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass

from benchmarks.post_requests import ACCEPTED, HEAD_END, parse_content_length

TIMEOUT_SECONDS = 30.0
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class AcceptedPost:
    """An accepted event: its id, when it was sent and when the answer was read (nanoseconds since 1970)."""

    event_id: str
    sent_ns: int
    answered_ns: int


class SequentialClient:
    """A blocking client on a bare socket, so that its own time is negligible."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, request: bytes) -> AcceptedPost:
        """Post an event; raises RuntimeError if it is not accepted."""
        sent = time.time_ns()
        self._socket.sendall(request)
        received = b""
        while (end := received.find(HEAD_END)) < 0:
            received += self._read()
        size = end + len(HEAD_END) + parse_content_length(received[:end])
        while len(received) < size:
            received += self._read()
        answered = time.time_ns()
        if not received.startswith(ACCEPTED):
            raise RuntimeError(f"An event was refused: {received[:200]!r}")
        return AcceptedPost(json.loads(received[end:])["id"], sent, answered)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read(self) -> bytes:
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionResetError("web closed the connection.")
        return chunk
