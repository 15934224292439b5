"""Limit the bytes of a request's head, and answer unreadable requests with a problem."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from delivery.api.http.problems import Problem, render_problem
from delivery.api.http.single_write import CoalescingTransport

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES = 65_536


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which alone reads heads of any size in quadratic time."""

    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # so has uvicorn
        """Wrap the transport of a new connection."""
        super().connection_made(cast("asyncio.Transport", CoalescingTransport(transport)))

    def data_received(self, data: bytes) -> None:
        """Read data, and refuse a head that exceeds the limit."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(
                    Problem(431, f"Path and headers together may have at most {MAX_HEAD_BYTES:,} bytes.")
                )

    def on_message_begin(self) -> None:
        """Start counting the bytes of a head."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP."""
        self._refuse(Problem(400, msg))

    def _refuse(self, problem: Problem) -> None:
        response = render_problem(problem, {})
        head = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()]
        for name, value in [*response.raw_headers, (b"connection", b"close")]:
            head += name, b": ", value, b"\r\n"
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()
