"""The connection pool, and the only place where the engine dials receivers.

Built on aiohttp's pool (`BaseConnector`) without aiohttp's session, which would add cookies, redirects,
proxies and automatic headers, and double the cost.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import aiohappyeyeballs
from aiohttp import BaseConnector, ClientTimeout

from delivery.destinations.dns import is_ip_address
from delivery.destinations.http.connection import HttpConnection
from delivery.destinations.http.proxy import ProxyHandshake, request_connection
from delivery.destinations.http.proxy_errors import ProxyFault
from delivery.destinations.source_address import open_socket
from delivery.domain.egress import ANY_SOURCE_ADDRESS
from retries.outcome import Phase

if TYPE_CHECKING:
    import ssl
    from datetime import timedelta

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from delivery.destinations.dns import DnsCache
    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.destinations.http.exchange import ExchangeTrace
    from delivery.destinations.http.tls import TlsContexts
    from delivery.destinations.ssrf_guard import Guard
    from delivery.domain.egress import Proxy, SourceAddresses

_MAX_ADDRESSES: Final = 6
_HAPPY_EYEBALLS_DELAY_SECONDS: Final = 0.25  # seconds, as RFC 8305 recommends
_NO_TIMEOUT: Final = ClientTimeout(total=None)  # the deadlines are ours


class BlockedAddress(OSError):
    """The guard refuses an address of this host. An OSError, so that it counts as a failed dial."""

    def __init__(self, host: str, address: str, reason: str) -> None:
        super().__init__(f"{address} of {host} may not be dialled: {reason}")
        self.host = host
        self.address = address
        self.reason = reason


class PoolKey(NamedTuple):
    """Origin and client identity: connections with the same key are interchangeable."""

    host: str
    port: int
    is_ssl: bool
    identity: ClientIdentity | None = None


class DialRequest:
    """A request for a connection. The pool reads `connection_key` and `proxy`; the rest is ours."""

    __slots__ = ("connection_key", "timeout_seconds", "trace")
    proxy = None

    def __init__(self, pool_key: PoolKey, timeout: timedelta, trace: ExchangeTrace) -> None:
        self.connection_key = pool_key
        self.timeout_seconds = timeout.total_seconds()
        self.trace = trace


class ConnectionPool(BaseConnector):
    """Reuses connections, and dials new ones through the guard."""

    def __init__(  # noqa: PLR0913  its parts, most given by name
        self,
        guard: Guard,
        dns: DnsCache,
        tls: TlsContexts,
        *,
        max_connections: int | None,
        keep_alive: timedelta,
        proxy: Proxy | None = None,
        source_addresses: SourceAddresses = ANY_SOURCE_ADDRESS,
    ) -> None:
        super().__init__(limit=max_connections or 0, keepalive_timeout=keep_alive.total_seconds())
        self._guard = guard
        self._dns = dns
        self._tls_contexts = tls
        self._proxy = proxy
        self._source_addresses = source_addresses
        self.open_connections: set[HttpConnection] = set()

    async def open_connection(self, dial: DialRequest) -> Connection:
        """Reuse a connection or dial a new one; raises OSError and TimeoutError."""
        return await self.connect(cast("ClientRequest", dial), [], _NO_TIMEOUT)

    def close_idle(self, pool_key: PoolKey) -> None:
        """Close the idle connections to this origin."""
        for connection, _ in self._conns.pop(cast("ConnectionKey", pool_key), ()):
            connection.close()

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> ResponseHandler:
        del traces, timeout  # unused: there are no traces, and the dial has its own limit
        dial = cast("DialRequest", req)
        origin = dial.connection_key
        async with asyncio.timeout(dial.timeout_seconds):
            tls = await self._tls_contexts.get_context(origin.identity) if origin.is_ssl else None
            if self._proxy is None:
                return await self._dial(origin, tls, dial.trace)
            return await self._dial_through_proxy(self._proxy, origin, tls, dial.trace)

    async def _resolve_checked(self, pool_key: PoolKey, trace: ExchangeTrace) -> tuple[str, ...]:
        trace.phase = Phase.DNS
        began = perf_counter()
        addresses = await self._dns.resolve_host(pool_key.host)
        for address in addresses:
            # One forbidden address is enough to refuse the name: it may be half of a DNS rebinding attack.
            self._check_address(pool_key, address)
        trace.phase, trace.dns = Phase.CONNECT, perf_counter() - began
        return addresses

    async def _dial_through_proxy(
        self, proxy: Proxy, pool_key: PoolKey, tls: ssl.SSLContext | None, trace: ExchangeTrace
    ) -> HttpConnection:
        """Open a tunnel through the proxy to a checked address."""
        if proxy.resolves_names and not is_ip_address(pool_key.host):
            self._check_port(pool_key)
            target = pool_key.host
        else:
            addresses = await self._resolve_checked(pool_key, trace)
            # A proxy takes one address, and reaches IPv4 more often than IPv6.
            target = trace.address = next((v4 for v4 in addresses if ":" not in v4), addresses[0])
        trace.phase, began = Phase.CONNECT, perf_counter()
        handshake = await self._connect_to_proxy(proxy, trace)
        try:
            await request_connection(proxy, handshake, target, pool_key.port)
            connected = perf_counter()
            trace.connect = connected - began
            connection = await self._connect_over_proxy(handshake, pool_key, tls, trace)
        except BaseException:
            if handshake.transport is not None:
                handshake.transport.abort()
            raise
        if tls is not None:
            trace.tls = perf_counter() - connected
        return connection

    async def _connect_to_proxy(self, proxy: Proxy, trace: ExchangeTrace) -> ProxyHandshake:
        """Connect to the proxy; the guard does not judge its address, which the operator has chosen."""
        trace.at_proxy = True
        addresses = await self._dns.resolve_host(proxy.host)
        sock = await aiohappyeyeballs.start_connection(
            [_build_addr_info(address, proxy.port) for address in addresses[:_MAX_ADDRESSES]],
            happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_SECONDS,
            loop=self._loop,
            socket_factory=partial(open_socket, self._source_addresses),
        )
        _, handshake = await self._loop.create_connection(
            ProxyHandshake,
            sock=sock,
            ssl=self._tls_contexts.default if proxy.is_ssl else None,
            server_hostname=proxy.host if proxy.is_ssl else None,
        )
        # From here on slowness may be the destination's; errors of the proxy are ProxyFaults.
        trace.at_proxy = False
        return handshake

    async def _connect_over_proxy(
        self, handshake: ProxyHandshake, pool_key: PoolKey, tls: ssl.SSLContext | None, trace: ExchangeTrace
    ) -> HttpConnection:
        connection = HttpConnection(self._loop, self.open_connections)
        transport: asyncio.Transport | None = handshake.transport
        if transport is None:
            raise ProxyFault("it broke off the connection")
        if tls is not None:
            trace.phase = Phase.TLS
            transport = await self._loop.start_tls(
                transport, connection, tls, server_hostname=pool_key.host.rstrip(".")
            )
        else:
            transport.set_protocol(connection)
        if transport is None:
            raise ProxyFault("it broke off the connection")
        connection.connection_made(transport)
        connection.register_open(trace.address)
        return connection

    async def _dial(
        self, pool_key: PoolKey, tls: ssl.SSLContext | None, trace: ExchangeTrace
    ) -> HttpConnection:
        addresses = await self._resolve_checked(pool_key, trace)
        resolved = perf_counter()
        sock = await self._connect_socket(pool_key, addresses[:_MAX_ADDRESSES], trace)
        trace.address = sock.getpeername()[0]
        connected = perf_counter()
        trace.connect = connected - resolved
        connection = await self._connect_http(sock, pool_key, tls, trace)
        if tls is not None:
            trace.tls = perf_counter() - connected
        return connection

    def _check_port(self, pool_key: PoolKey) -> None:
        """Refuse a port; the host's addresses cannot be checked, since the proxy looks them up."""
        if self._guard.ports is not None and pool_key.port not in self._guard.ports:
            raise BlockedAddress(pool_key.host, pool_key.host, f"port {pool_key.port}")

    def _check_address(self, pool_key: PoolKey, address: str) -> None:
        reason = self._guard.find_refusal(address, pool_key.port)
        if reason is not None:
            raise BlockedAddress(pool_key.host, address, reason)

    async def _connect_socket(
        self, pool_key: PoolKey, addresses: tuple[str, ...], trace: ExchangeTrace
    ) -> socket.socket:
        def open_checked_socket(target: aiohappyeyeballs.AddrInfoType) -> socket.socket:
            # Checked again at the last moment before each connection is made.
            address = target[4][0]
            self._check_address(pool_key, address)
            trace.address = address
            return open_socket(self._source_addresses, target)

        return await aiohappyeyeballs.start_connection(
            [_build_addr_info(address, pool_key.port) for address in addresses],
            happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_SECONDS,
            loop=self._loop,
            socket_factory=open_checked_socket,
        )

    async def _connect_http(
        self, sock: socket.socket, pool_key: PoolKey, tls: ssl.SSLContext | None, trace: ExchangeTrace
    ) -> HttpConnection:
        if tls is not None:
            trace.phase = Phase.TLS
        # The loop owns the socket now, and closes it when this fails or is cancelled. Closing it here as well
        # could close another connection that has got the same file descriptor meanwhile.
        _, connection = await self._loop.create_connection(
            lambda: HttpConnection(self._loop, self.open_connections),
            sock=sock,
            ssl=tls,
            server_hostname=None if tls is None else pool_key.host.rstrip("."),
        )
        connection.register_open(trace.address)
        return connection


def _build_addr_info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
