"""The pool of connections, and the one place where the engine dials.

Built on aiohttp's pool (`BaseConnector`) without aiohttp's session, which would add cookies, redirects,
proxies and automatic headers, and cost as much again.
"""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import aiohappyeyeballs
from aiohttp import BaseConnector, ClientTimeout

from delivery.transport.faults_of_proxy import ProxyFault
from delivery.transport.names import is_address
from delivery.transport.proxy import Greeting
from delivery.transport.sources import ANY_SOURCE
from delivery.transport.wire import Wire
from retries.outcome import Phase

if TYPE_CHECKING:
    import ssl
    from datetime import timedelta

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from delivery.certificates import ClientIdentity
    from delivery.transport.exchange import Trail
    from delivery.transport.guard import Guard
    from delivery.transport.names import Names
    from delivery.transport.proxy import Proxy
    from delivery.transport.sources import Sources
    from delivery.transport.tls import Contexts

_MOST_ADDRESSES: Final = 6
_NEXT_ADDRESS_AFTER: Final = 0.25  # seconds, as RFC 8305 recommends
_NO_TIMEOUT: Final = ClientTimeout(total=None)  # the deadlines are ours


class Inside(OSError):
    """The guard refuses an address of this host. An OSError: to those who dial, one that failed."""

    def __init__(self, host: str, address: str, reason: str) -> None:
        super().__init__(f"{address} of {host} may not be dialled: {reason}")
        self.host = host
        self.address = address
        self.reason = reason


class Origin(NamedTuple):
    """Where a connection leads, and as whom: connections to the same origin are interchangeable."""

    host: str
    port: int
    is_ssl: bool
    identity: ClientIdentity | None = None


class Dial:
    """A wish for a connection. The pool reads `connection_key` and `proxy` of it, the rest is ours."""

    __slots__ = ("connection_key", "limit", "trail")
    proxy = None

    def __init__(self, origin: Origin, limit: timedelta, trail: Trail) -> None:
        self.connection_key = origin
        self.limit = limit.total_seconds()
        self.trail = trail


class Connector(BaseConnector):
    """Keeps connections, and dials new ones through the guard."""

    def __init__(  # noqa: PLR0913  each is a part of its own, most given by name
        self,
        guard: Guard,
        names: Names,
        tls: Contexts,
        *,
        most: int | None,
        keep_alive: timedelta,
        proxy: Proxy | None = None,
        sources: Sources = ANY_SOURCE,
    ) -> None:
        super().__init__(limit=most or 0, keepalive_timeout=keep_alive.total_seconds())
        self._guard = guard
        self._names = names
        self._tls = tls
        self._proxy = proxy
        self._sources = sources
        self.wires: set[Wire] = set()

    async def open(self, dial: Dial) -> Connection:
        """Take a kept connection or dial a new one; raises OSError and TimeoutError."""
        return await self.connect(cast("ClientRequest", dial), [], _NO_TIMEOUT)

    def forget(self, origin: Origin) -> None:
        """Close the idle connections to this origin."""
        for wire, _ in self._conns.pop(cast("ConnectionKey", origin), ()):
            wire.close()

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> ResponseHandler:
        del traces, timeout  # never used here: no traces, and the dial has its own limit
        dial = cast("Dial", req)
        origin = dial.connection_key
        async with asyncio.timeout(dial.limit):
            tls = await self._tls.of(origin.identity) if origin.is_ssl else None
            if self._proxy is None:
                return await self._dial(origin, tls, dial.trail)
            return await self._dial_through(self._proxy, origin, tls, dial.trail)

    async def _checked(self, origin: Origin, trail: Trail) -> tuple[str, ...]:
        trail.phase = Phase.DNS
        began = perf_counter()
        addresses = await self._names.addresses(origin.host)
        for address in addresses:
            # One inside address condemns the name: it may be half of a rebinding trick.
            self._refuse_inside(origin, address)
        trail.phase, trail.dns = Phase.CONNECT, perf_counter() - began
        return addresses

    async def _dial_through(
        self, proxy: Proxy, origin: Origin, tls: ssl.SSLContext | None, trail: Trail
    ) -> Wire:
        """Have the proxy connect to an address that was checked, and go on over that connection."""
        if proxy.resolves and not is_address(origin.host):
            self._refuse_port(origin)
            there = origin.host
        else:
            addresses = await self._checked(origin, trail)
            # One is asked for, and proxies reach IPv4 more often than IPv6.
            there = trail.address = next((one for one in addresses if ":" not in one), addresses[0])
        trail.phase, began = Phase.CONNECT, perf_counter()
        greeting = await self._greeted(proxy, trail)
        try:
            await proxy.ask(greeting, there, origin.port)
            connected = perf_counter()
            trail.connect = connected - began
            wire = await self._wire_over(greeting, origin, tls, trail)
        except BaseException:
            if greeting.transport is not None:
                greeting.transport.abort()
            raise
        if tls is not None:
            trail.tls = perf_counter() - connected
        return wire

    async def _greeted(self, proxy: Proxy, trail: Trail) -> Greeting:
        """A connection to the proxy, whose address is the operator's and not for the guard to judge."""
        trail.at_proxy = True
        addresses = await self._names.addresses(proxy.host)
        sock = await aiohappyeyeballs.start_connection(
            [_target(address, proxy.port) for address in addresses[:_MOST_ADDRESSES]],
            happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
            loop=self._loop,
            socket_factory=self._sources.socket_for,
        )
        _, greeting = await self._loop.create_connection(
            Greeting,
            sock=sock,
            ssl=self._tls.nobodys if proxy.is_ssl else None,
            server_hostname=proxy.host if proxy.is_ssl else None,
        )
        # It is there. From here on slowness may be the destination's; what the proxy says is told apart.
        trail.at_proxy = False
        return greeting

    async def _wire_over(
        self, greeting: Greeting, origin: Origin, tls: ssl.SSLContext | None, trail: Trail
    ) -> Wire:
        wire = Wire(self._loop, self.wires)
        through: asyncio.Transport | None = greeting.transport
        if through is None:
            raise ProxyFault("it broke off the connection")
        if tls is not None:
            trail.phase = Phase.TLS
            through = await self._loop.start_tls(through, wire, tls, server_hostname=origin.host.rstrip("."))
        else:
            through.set_protocol(wire)
        if through is None:
            raise ProxyFault("it broke off the connection")
        wire.connection_made(through)
        wire.opened(trail.address)
        return wire

    async def _dial(self, origin: Origin, tls: ssl.SSLContext | None, trail: Trail) -> Wire:
        addresses = await self._checked(origin, trail)
        resolved = perf_counter()
        sock = await self._connect(origin, addresses[:_MOST_ADDRESSES], trail)
        trail.address = sock.getpeername()[0]
        connected = perf_counter()
        trail.connect = connected - resolved
        wire = await self._wire_on(sock, origin, tls, trail)
        if tls is not None:
            trail.tls = perf_counter() - connected
        return wire

    def _refuse_port(self, origin: Origin) -> None:
        """Refuse what can be refused of a name that the proxy looks up: its port."""
        if self._guard.ports is not None and origin.port not in self._guard.ports:
            raise Inside(origin.host, origin.host, f"port {origin.port}")

    def _refuse_inside(self, origin: Origin, address: str) -> None:
        reason = self._guard.refusal(address, origin.port)
        if reason is not None:
            raise Inside(origin.host, address, reason)

    async def _connect(self, origin: Origin, addresses: tuple[str, ...], trail: Trail) -> socket.socket:
        def door(target: aiohappyeyeballs.AddrInfoType) -> socket.socket:
            # The last thing that happens before a connection is made, for every address alike.
            address = target[4][0]
            self._refuse_inside(origin, address)
            trail.address = address
            return self._sources.socket_for(target)

        return await aiohappyeyeballs.start_connection(
            [_target(address, origin.port) for address in addresses],
            happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
            loop=self._loop,
            socket_factory=door,
        )

    async def _wire_on(
        self, sock: socket.socket, origin: Origin, tls: ssl.SSLContext | None, trail: Trail
    ) -> Wire:
        if tls is not None:
            trail.phase = Phase.TLS
        # The loop owns the socket now, and closes it when this fails or is cancelled. Closing it here as well
        # could close another connection, one that has been given the same number meanwhile.
        _, wire = await self._loop.create_connection(
            lambda: Wire(self._loop, self.wires),
            sock=sock,
            ssl=tls,
            server_hostname=None if tls is None else origin.host.rstrip("."),
        )
        wire.opened(trail.address)
        return wire


def _target(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
