"""One connection: aiohttp's HTTP/1.1 parser (`ResponseHandler`), with bounds on what a receiver may send."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL, set_exception
from aiohttp.http_exceptions import BadHttpMessage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader

    from delivery.destinations.http.exchange import ExchangeTrace

MAX_HEAD_BYTES: Final = 65_536
MAX_INTERIM_RESPONSES: Final = 16
SWITCHING_PROTOCOLS: Final = 101
_INTERIM_STATUSES: Final = range(100, 200)
_CHUNK_BYTES: Final = 8192
_HEAD_END: Final = b"\r\n\r\n"


class HttpConnection(ResponseHandler):
    """A connection that carries one request after another, and counts the bytes that come back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, open_connections: set[HttpConnection]) -> None:
        super().__init__(loop)
        self._open_connections = open_connections
        self._trace: ExchangeTrace | None = None
        self._used = False
        self.address: str | None = None
        self._received = 0
        self._max_bytes = 0
        self._interim_count = 0
        self._head_received = False

    def register_open(self, address: str | None) -> None:
        """Count the connection as open, once it and its TLS are up.

        Not in `connection_made`: uvloop calls that for a cancelled connection too, and then never
        `connection_lost`.
        """
        self.address = address
        if self.is_connected():
            self._open_connections.add(self)

    def begin_response(self, trace: ExchangeTrace, *, max_body_bytes: int, with_body: bool) -> None:
        """Prepare for one response, and forget the previous one."""
        self._trace = trace
        trace.reused, self._used = self._used, True
        trace.address = self.address
        self._received, self._interim_count, self._head_received = 0, 0, False
        # The worst honest response sends one byte per chunk (6 bytes on the wire), after its head.
        self._max_bytes = MAX_HEAD_BYTES + 8 * max(max_body_bytes, MAX_HEAD_BYTES)
        self.set_response_params(
            skip_payload=not with_body,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=max(max_body_bytes, MAX_HEAD_BYTES),
        )

    def end_response(self) -> None:
        """Expect nothing more: the response is complete."""
        self._trace = None

    def write_request(self, chunks: tuple[bytes, ...]) -> None:
        """Write the request; raises ConnectionResetError when the connection is gone."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("The connection is closed.")
        for chunk in chunks:
            self.transport.write(chunk)

    @property
    def has_unsent_bytes(self) -> bool:
        """Whether the receiver has not yet taken all of the request."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """Mark the connection as closed, and fail pending reads."""
        self._open_connections.discard(self)
        payload = self._payload
        if exc is not None and payload is not None and not payload.is_eof():
            # A body without a length ends when the connection closes, but not when it breaks.
            set_exception(payload, ClientPayloadError(str(exc)), exc)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the receiver sent, within bounds."""
        if self._trace is None:
            # Unexpected bytes: the next request on this connection would take them for its own response.
            self.abort()
            return
        if self._received == 0:
            self._trace.first_byte_at = perf_counter()
        for chunk in self._split_chunks(data):
            self._received += len(chunk)
            super().data_received(chunk)
            if not self._head_received and (
                self._received > MAX_HEAD_BYTES or self._interim_count > MAX_INTERIM_RESPONSES
            ):
                self._abort_with_error("the answer's head does not end")
                return
        if self._received > self._max_bytes:
            self._abort_with_error("the answer is mostly framing")

    def _split_chunks(self, data: bytes) -> Iterable[bytes]:
        """Cut after the first head, and cut a possible flood of heads into small chunks.

        The parser drops a head if it fails on what came with it, such as a body after a 204. And parsing a
        head costs far more than sending it.
        """
        if self._head_received:
            return (data,)
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if len(_HEAD_END) <= end < len(data) <= _CHUNK_BYTES:
            return (data[:end], data[end:])
        return (data[start : start + _CHUNK_BYTES] for start in range(0, len(data), _CHUNK_BYTES))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take one parsed head; count and drop interim ones (100, 102, 103, …)."""
        code = data[0].code
        if code in _INTERIM_STATUSES and code != SWITCHING_PROTOCOLS:
            self._interim_count += 1
            return
        self._head_received = True
        super().feed_data(data, size)

    def close(self) -> None:
        """Close at once: an orderly close would wait for a receiver that may never read again."""
        self.abort()

    def abort(self) -> None:
        """Close immediately, and drop unsent data."""
        self._open_connections.discard(self)
        super().abort()

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        """Fail the pending reads of head and body."""
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            set_exception(payload, exc, exc_cause)
        super().set_exception(exc, exc_cause)

    def _abort_with_error(self, why: str) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(BadHttpMessage(why))
