"""Sends one HTTP request to an untrusted receiver: no redirects, bounded in time and bytes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import httpx

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
from delivery.log import get_logger
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
_log = get_logger()


class Transport(httpx.AsyncBaseTransport):
    """Sends requests through the guard, over pooled connections. Create it inside a running loop.

    `max_connections` bounds the busy connections (None: no bound), `max_idle` those that are kept for reuse,
    and `keep_alive` for how long. `create_tls` creates TLS contexts, `lookup` resolves names, `proxy` carries
    everything, and `source_addresses` are where connections come from.
    """

    def __init__(  # noqa: PLR0913  all by name, with defaults
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
        """The number of open connections, busy or idle."""
        return len(self._pool.open_connections)

    async def send(
        self,
        request: httpx.Request,
        limits: AttemptLimits,
        *,
        now: datetime,
        identity: ClientIdentity | None = None,
    ) -> Exchange:
        """Send a request and return the exchange; failures of the receiver or the network are its outcome.

        `now` serves to read a Retry-After date; `identity` is the client certificate for receivers that ask
        for one. Cancelling passes through, and closes the connection.
        """
        trace = ExchangeTrace()
        outcome: Outcome
        try:
            await self._exchange(request, limits, trace, identity)
        except httpx.TransportError as error:
            outcome = Interrupted() if self._pool.closed else classify_error(error, trace)
        else:
            outcome = classify_status(cast("int", trace.status), _read_retry_after(trace, now))
        return _build_exchange(outcome, trace)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as httpx's transports do: return a response or raise an httpx error.

        Limits come from `request.extensions["limits"]`. The body has been read when this returns, cut at the
        limit if `response.extensions["truncated"]`, and is decompressed only if the caller asks httpx to.
        """
        trace = ExchangeTrace()
        await self._exchange(request, request.extensions.get("limits", AttemptLimits()), trace)
        return httpx.Response(
            cast("int", trace.status),
            headers=list(trace.raw_headers),
            stream=_Body(trace.body),
            extensions={"truncated": trace.truncated},
        )

    async def aclose(self) -> None:
        """Close every connection; running exchanges end as interrupted."""
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
                encoded = encode_request(request, await request.aread(), identity)
                await self._send_with_reconnect(encoded, limits, trace)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not self._pool.closed or (current is not None and current.cancelling()):
                raise
            # Closing the transport cancelled this; the caller itself was not cancelled.
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
        """Send; and once more if a reused connection turns out to have been closed by the other side."""
        try:
            await self._send_once(encoded, limits, trace)
        except Exception as error:
            if not (trace.reused and trace.first_byte_at is None and is_broken_connection(error)):
                raise
            # The other idle ones are most likely closed too: drop them, so that a new one is dialled.
            self._pool.close_idle(encoded.pool_key)
            trace.phase, trace.reused = None, False
            await self._send_once(encoded, limits, trace)

    async def _send_once(self, encoded: EncodedRequest, limits: AttemptLimits, trace: ExchangeTrace) -> None:
        connection = await self._pool.open_connection(
            DialRequest(encoded.pool_key, limits.connect_timeout, trace)
        )
        http_connection = cast("HttpConnection", connection.protocol)
        self._busy += 1
        try:
            await _exchange_over(http_connection, encoded, limits, trace)
        except BaseException:
            if trace.phase is Phase.FIRST_BYTE and http_connection.has_unsent_bytes:
                trace.phase = Phase.SEND
            connection.close()
            raise
        else:
            self._release_connection(connection, http_connection, trace)
        finally:
            self._busy -= 1

    def _release_connection(
        self, connection: Connection, http_connection: HttpConnection, trace: ExchangeTrace
    ) -> None:
        http_connection.end_response()
        is_unusable = (
            trace.truncated or http_connection.has_unsent_bytes or trace.status == SWITCHING_PROTOCOLS
        )
        if is_unusable or self.open_connection_count - self._busy >= self._max_idle:
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
    """Read the body up to the limit; the rest is never read."""
    body = bytearray()
    try:
        while len(body) < max_bytes and not payload.at_eof():
            body += await payload.readany()
    except Exception:
        # aiohttp's reader does not hand out its buffer once the response has broken off.
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
    """Return the first headers: at most 64, and at most 16 KiB of them."""
    headers: list[tuple[str, str]] = []
    size = 0
    for name, value in islice(raw_headers, _MAX_STORED_HEADERS):
        size += len(name) + len(value)
        if size > _MAX_STORED_HEADER_BYTES:
            break
        headers.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(headers)


class _Body(httpx.AsyncByteStream):
    """A body that has been read already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
