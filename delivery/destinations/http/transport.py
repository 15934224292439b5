"""One HTTP request to a hostile world: sent once, bounded in time and bytes, and never a surprise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import httpx
import structlog

from delivery.transport.connector import Connector, Dial
from delivery.transport.exchange import Exchange, Limits, Trail
from delivery.transport.faults import is_broken_connection, is_foreign, outcome_of, translate
from delivery.transport.guard import Guard
from delivery.transport.names import Lookup, Names, system_lookup
from delivery.transport.question import Question, question_of
from delivery.transport.sources import ANY_SOURCE, Sources
from delivery.transport.tls import Contexts, verified_tls
from delivery.transport.wire import SWITCHING_PROTOCOLS, Wire
from retries.outcome import Interrupted, Outcome, Phase, classify_status
from retries.retry_after import parse_retry_after

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime

    from aiohttp.connector import Connection
    from aiohttp.streams import StreamReader

    from delivery.certificates import ClientIdentity
    from delivery.transport.proxy import Proxy

_HEADERS_KEPT: Final = 64
_HEADER_BYTES_KEPT: Final = 16_384
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
        tls: Callable[[], ssl.SSLContext] = verified_tls,
        lookup: Lookup = system_lookup,
        max_connections: int | None = None,
        keep_alive: timedelta = timedelta(seconds=15),
        keep_idle: int = 256,
        proxy: Proxy | None = None,
        sources: Sources = ANY_SOURCE,
    ) -> None:
        self._names = Names(lookup)
        self._keep_idle = keep_idle
        self._busy = 0
        self._connector = Connector(
            guard or Guard(),
            self._names,
            Contexts(tls),
            most=max_connections,
            keep_alive=keep_alive,
            proxy=proxy,
            sources=sources,
        )

    @property
    def open_connections(self) -> int:
        """How many connections are open, busy or idle."""
        return len(self._connector.wires)

    async def send(
        self,
        request: httpx.Request,
        limits: Limits,
        *,
        now: datetime,
        identity: ClientIdentity | None = None,
    ) -> Exchange:
        """Send a request and say what came of it; never raises for what the receiver or the network does.

        `now` dates a Retry-After that names a moment; `identity` is shown to a receiver that asks for one.
        Cancelling passes through, and closes the connection.
        """
        trail = Trail()
        outcome: Outcome
        try:
            await self._exchange(request, limits, trail, identity)
        except httpx.TransportError as error:
            outcome = Interrupted() if self._connector.closed else outcome_of(error, trail)
        else:
            outcome = classify_status(cast("int", trail.status), _retry_after(trail, now))
        return _record(outcome, trail)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as httpx's transports do: an answer or an httpx error.

        Limits are taken from `request.extensions["limits"]`. The body has been read when this returns, cut at
        the limit if `response.extensions["truncated"]`, and is unpacked only if the caller asks httpx to.
        """
        trail = Trail()
        await self._exchange(request, request.extensions.get("limits", Limits()), trail)
        return httpx.Response(
            cast("int", trail.status),
            headers=list(trail.raw_headers),
            stream=_Body(trail.body),
            extensions={"truncated": trail.truncated},
        )

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as interrupted."""
        await self._connector.close()
        await self._names.aclose()

    async def _exchange(
        self, request: httpx.Request, limits: Limits, trail: Trail, identity: ClientIdentity | None = None
    ) -> None:
        try:
            async with asyncio.timeout(limits.total.total_seconds()):
                question = question_of(request, await request.aread(), identity)
                await self._ask(question, limits, trail)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not self._connector.closed or (current is not None and current.cancelling()):
                raise
            # Closing the transport cancels what waits inside it; nobody cancelled the one who asked.
            raise httpx.ConnectError("The transport was closed.") from None
        except httpx.TransportError:
            raise
        except Exception as error:
            if not is_foreign(error):
                _log.exception("transport.unexpected")
            raise translate(error, trail) from error

    async def _ask(self, question: Question, limits: Limits, trail: Trail) -> None:
        """Ask, and once more when a kept connection turns out to have been closed by the other side."""
        try:
            await self._ask_once(question, limits, trail)
        except Exception as error:
            if not (trail.reused and trail.answered_at is None and is_broken_connection(error)):
                raise
            # The others to that origin are most likely as stale: forgotten, so that a new one is dialled.
            self._connector.forget(question.origin)
            trail.phase, trail.reused = None, False
            await self._ask_once(question, limits, trail)

    async def _ask_once(self, question: Question, limits: Limits, trail: Trail) -> None:
        connection = await self._connector.open(Dial(question.origin, limits.connect, trail))
        wire = cast("Wire", connection.protocol)
        self._busy += 1
        try:
            await _converse(wire, question, limits, trail)
        except BaseException:
            if trail.phase is Phase.FIRST_BYTE and wire.unsent:
                trail.phase = Phase.SEND
            connection.close()
            raise
        else:
            self._put_back(connection, wire, trail)
        finally:
            self._busy -= 1

    def _put_back(self, connection: Connection, wire: Wire, trail: Trail) -> None:
        wire.end()
        spent = trail.truncated or wire.unsent or trail.status == SWITCHING_PROTOCOLS
        if spent or self.open_connections - self._busy >= self._keep_idle:
            connection.close()
        else:
            connection.release()


async def _converse(wire: Wire, question: Question, limits: Limits, trail: Trail) -> None:
    wire.begin(trail, read_bytes=limits.read_bytes, with_body=question.expects_body)
    wire.write(question.pieces)
    trail.phase, trail.asked_at = Phase.FIRST_BYTE, perf_counter()
    head, payload = await wire.read()
    trail.phase, trail.status, trail.raw_headers = Phase.BODY, head.code, head.raw_headers
    if head.code != SWITCHING_PROTOCOLS:
        await _read_body(payload, limits.read_bytes, trail)


async def _read_body(payload: StreamReader, most: int, trail: Trail) -> None:
    """Read up to the limit; what lies beyond is never read, and no longer matters."""
    body = bytearray()
    try:
        while len(body) < most and not payload.at_eof():
            body += await payload.readany()
    except Exception:
        # aiohttp's reader keeps what it holds to itself once the answer has broken off.
        body += b"".join(payload._buffer)  # noqa: SLF001  there is no public way to it
        if len(body) < most:
            raise
    finally:
        trail.body = bytes(body[:most])
    trail.truncated = len(body) > most or not payload.at_eof()


def _retry_after(trail: Trail, now: datetime) -> timedelta | None:
    for name, value in trail.raw_headers:
        if name.lower() == b"retry-after":
            return parse_retry_after(value, now=now)
    return None


def _record(outcome: Outcome, trail: Trail) -> Exchange:
    return Exchange(
        outcome,
        started=trail.started,
        timings=trail.timings(),
        status=trail.status,
        headers=_bounded(trail.raw_headers),
        body=trail.body,
        body_truncated=trail.truncated,
        address=trail.address,
        reused=trail.reused,
    )


def _bounded(raw_headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Keep the first headers: at most 64, and at most 16 KiB of them."""
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in islice(raw_headers, _HEADERS_KEPT):
        size += len(name) + len(value)
        if size > _HEADER_BYTES_KEPT:
            break
        kept.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(kept)


class _Body(httpx.AsyncByteStream):
    """A body that was already read."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
