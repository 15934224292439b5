"""One HTTP request to a hostile world: sent once, bounded in time and bytes, and never a surprise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import httpx
import structlog

from delivery.destinations.dns import DnsCache, Lookup, resolve_with_system
from delivery.destinations.http.connection import SWITCHING_PROTOCOLS, HttpConnection
from delivery.destinations.http.errors import (
    classify_error,
    is_broken_connection,
    is_external_error,
    translate_error,
)
from delivery.destinations.http.exchange import AttemptLimits, Exchange, ExchangeTrace
from delivery.destinations.http.pool import ConnectionPool, DialRequest
from delivery.destinations.http.request import EncodedRequest, encode_request
from delivery.destinations.http.tls import TlsContexts, create_tls_context
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.egress import ANY_SOURCE_ADDRESS, SourceAddresses
from retries.outcome import Interrupted, Outcome, Phase, classify_status
from retries.retry_after import parse_retry_after

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime

    from aiohttp.connector import Connection
    from aiohttp.streams import StreamReader

    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.domain.egress import Proxy

_MAX_STORED_HEADERS: Final = 64
_MAX_STORED_HEADER_BYTES: Final = 16_384
_log = structlog.get_logger(__name__)


class Transport(httpx.AsyncBaseTransport):
    """Sends requests through the guard, over connections that it keeps. Make it inside a running loop.

    `max_connections` bounds how many are busy at once (None: as many as are asked for), `keep_idle` how many
    are kept for later, and `keep_alive` for how long. `tls` makes the contexts, `lookup` is how names are
    resolved, `proxy` what everything goes through, and `sources` where connections come from.
    """

    def __init__(  # noqa: PLR0913  each has its default, and is given by name
        self,
        *,
        guard: Guard | None = None,
        create_tls: Callable[[], ssl.SSLContext] = create_tls_context,
        lookup: Lookup = resolve_with_system,
        max_connections: int | None = None,
        keep_alive: timedelta = timedelta(seconds=15),
        max_idle: int = 256,
        proxy: Proxy | None = None,
        source_addresses: SourceAddresses = ANY_SOURCE_ADDRESS,
    ) -> None:
        self._dns = DnsCache(lookup)
        self._max_idle = max_idle
        self._busy = 0
        self._pool = ConnectionPool(
            guard or Guard(),
            self._dns,
            TlsContexts(create_tls),
            max_connections=max_connections,
            keep_alive=keep_alive,
            proxy=proxy,
            source_addresses=source_addresses,
        )

    @property
    def open_connection_count(self) -> int:
        """How many connections are open, busy or idle."""
        return len(self._pool.open_connections)

    async def send(
        self,
        request: httpx.Request,
        limits: AttemptLimits,
        *,
        now: datetime,
        identity: ClientIdentity | None = None,
    ) -> Exchange:
        """Send a request and say what came of it; never raises for what the receiver or the network does.

        `now` dates a Retry-After that names a moment; `identity` is shown to a receiver that asks for one.
        Cancelling passes through, and closes the connection.
        """
        trail = ExchangeTrace()
        outcome: Outcome
        try:
            await self._exchange(request, limits, trail, identity)
        except httpx.TransportError as error:
            outcome = Interrupted() if self._pool.closed else classify_error(error, trail)
        else:
            outcome = classify_status(cast("int", trail.status), _read_retry_after(trail, now))
        return _build_exchange(outcome, trail)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as httpx's transports do: an answer or an httpx error.

        Limits are taken from `request.extensions["limits"]`. The body has been read when this returns, cut at
        the limit if `response.extensions["truncated"]`, and is unpacked only if the caller asks httpx to.
        """
        trail = ExchangeTrace()
        await self._exchange(request, request.extensions.get("limits", AttemptLimits()), trail)
        return httpx.Response(
            cast("int", trail.status),
            headers=list(trail.raw_headers),
            stream=_Body(trail.body),
            extensions={"truncated": trail.truncated},
        )

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as interrupted."""
        await self._pool.close()
        await self._dns.aclose()

    async def _exchange(
        self,
        request: httpx.Request,
        limits: AttemptLimits,
        trace: ExchangeTrace,
        identity: ClientIdentity | None = None,
    ) -> None:
        try:
            async with asyncio.timeout(limits.total_timeout.total_seconds()):
                question = encode_request(request, await request.aread(), identity)
                await self._send_with_reconnect(question, limits, trace)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not self._pool.closed or (current is not None and current.cancelling()):
                raise
            # Closing the transport cancels what waits inside it; nobody cancelled the one who asked.
            raise httpx.ConnectError("The transport was closed.") from None
        except httpx.TransportError:
            raise
        except Exception as error:
            if not is_external_error(error):
                _log.exception("transport.unexpected")
            raise translate_error(error, trace) from error

    async def _send_with_reconnect(
        self, encoded: EncodedRequest, limits: AttemptLimits, trace: ExchangeTrace
    ) -> None:
        """Ask, and once more when a kept connection turns out to have been closed by the other side."""
        try:
            await self._send_once(encoded, limits, trace)
        except Exception as error:
            if not (trace.reused and trace.first_byte_at is None and is_broken_connection(error)):
                raise
            # The others to that origin are most likely as stale: forgotten, so that a new one is dialled.
            self._pool.close_idle(encoded.pool_key)
            trace.phase, trace.reused = None, False
            await self._send_once(encoded, limits, trace)

    async def _send_once(self, encoded: EncodedRequest, limits: AttemptLimits, trace: ExchangeTrace) -> None:
        connection = await self._pool.open_connection(
            DialRequest(encoded.pool_key, limits.connect_timeout, trace)
        )
        wire = cast("HttpConnection", connection.protocol)
        self._busy += 1
        try:
            await _exchange_over(wire, encoded, limits, trace)
        except BaseException:
            if trace.phase is Phase.FIRST_BYTE and wire.has_unsent_bytes:
                trace.phase = Phase.SEND
            connection.close()
            raise
        else:
            self._release_connection(connection, wire, trace)
        finally:
            self._busy -= 1

    def _release_connection(
        self, connection: Connection, http_connection: HttpConnection, trace: ExchangeTrace
    ) -> None:
        http_connection.end_response()
        spent = trace.truncated or http_connection.has_unsent_bytes or trace.status == SWITCHING_PROTOCOLS
        if spent or self.open_connection_count - self._busy >= self._max_idle:
            connection.close()
        else:
            connection.release()


async def _exchange_over(
    connection: HttpConnection, encoded: EncodedRequest, limits: AttemptLimits, trace: ExchangeTrace
) -> None:
    connection.begin_response(trace, max_body_bytes=limits.max_body_bytes, with_body=encoded.expects_body)
    connection.write_request(encoded.chunks)
    trace.phase, trace.sent_at = Phase.FIRST_BYTE, perf_counter()
    head, payload = await connection.read()
    trace.phase, trace.status, trace.raw_headers = Phase.BODY, head.code, head.raw_headers
    if head.code != SWITCHING_PROTOCOLS:
        await _read_body(payload, limits.max_body_bytes, trace)


async def _read_body(payload: StreamReader, max_bytes: int, trace: ExchangeTrace) -> None:
    """Read up to the limit; what lies beyond is never read, and no longer matters."""
    body = bytearray()
    try:
        while len(body) < max_bytes and not payload.at_eof():
            body += await payload.readany()
    except Exception:
        # aiohttp's reader keeps what it holds to itself once the answer has broken off.
        body += b"".join(payload._buffer)  # noqa: SLF001  there is no public way to it
        if len(body) < max_bytes:
            raise
    finally:
        trace.body = bytes(body[:max_bytes])
    trace.truncated = len(body) > max_bytes or not payload.at_eof()


def _read_retry_after(trace: ExchangeTrace, now: datetime) -> timedelta | None:
    for name, value in trace.raw_headers:
        if name.lower() == b"retry-after":
            return parse_retry_after(value, now=now)
    return None


def _build_exchange(outcome: Outcome, trace: ExchangeTrace) -> Exchange:
    return Exchange(
        outcome,
        started=trace.started,
        timings=trace.build_timings(),
        status=trace.status,
        headers=_limit_headers(trace.raw_headers),
        body=trace.body,
        body_truncated=trace.truncated,
        address=trace.address,
        reused=trace.reused,
    )


def _limit_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Keep the first headers: at most 64, and at most 16 KiB of them."""
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in islice(raw_headers, _MAX_STORED_HEADERS):
        size += len(name) + len(value)
        if size > _MAX_STORED_HEADER_BYTES:
            break
        kept.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(kept)


class _Body(httpx.AsyncByteStream):
    """A body that was already read."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
