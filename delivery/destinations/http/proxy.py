"""Asks the operator's proxy for a connection to a receiver.

HTTP proxies by CONNECT (RFC 9110, section 9.3.6), SOCKS5 proxies by RFC 1928 and RFC 1929.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final, cast

from delivery.destinations.http.auth import encode_basic_auth
from delivery.destinations.http.proxy_errors import ProxyFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.domain.egress import Proxy

_MAX_HEAD_BYTES: Final = 16_384
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r)")
_NO_AUTH, _PASSWORD_AUTH, _NO_ACCEPTABLE_METHOD = 0x00, 0x02, 0xFF
_ADDRESS_BYTES: Final = {0x01: 4, 0x04: 16}
# SOCKS5 replies that blame the destination, not the proxy.
_DESTINATION_ERRORS: Final = {3: errno.ENETUNREACH, 4: errno.EHOSTUNREACH, 5: errno.ECONNREFUSED}
_PROXY_ERRORS: Final = {1: "it failed", 2: "it does not allow this destination"}


async def request_connection(proxy: Proxy, handshake: ProxyHandshake, host: str, port: int) -> None:
    """Ask the proxy to connect to a host; raises ProxyFault, and OSError for faults of the host."""
    if proxy.scheme in {"http", "https"}:
        await _request_http_connect(proxy, handshake, host, port)
    else:
        await _request_socks(proxy, handshake, host, port)


async def _request_http_connect(proxy: Proxy, handshake: ProxyHandshake, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user is not None:
        lines.append(f"Proxy-Authorization: {encode_basic_auth(proxy.user, proxy.password)}")
    handshake.send_bytes("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    head = await handshake.read_until(b"\r\n\r\n", max_bytes=_MAX_HEAD_BYTES)
    status = _STATUS_LINE.match(head)
    if status is None:
        raise ProxyFault("its answer was not valid HTTP")
    if not status[1].startswith(b"2"):
        raise ProxyFault(f"it answered {status[1].decode()}")


async def _request_socks(proxy: Proxy, handshake: ProxyHandshake, host: str, port: int) -> None:
    method = _NO_AUTH if proxy.user is None else _PASSWORD_AUTH
    handshake.send_bytes(bytes((5, 1, method)))
    version, chosen = await handshake.read_exactly(2)
    if version != 5 or chosen != method:  # noqa: PLR2004  the protocol's own number
        why = (
            "it wants another way to sign in"
            if chosen == _NO_ACCEPTABLE_METHOD
            else "its answer was not SOCKS5"
        )
        raise ProxyFault(why)
    if proxy.user is not None:
        user, password = proxy.user.encode(), proxy.password.encode()
        handshake.send_bytes(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        if (await handshake.read_exactly(2))[1]:
            raise ProxyFault("it does not know our user and password")
    handshake.send_bytes(b"\x05\x01\x00" + _encode_host(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = await handshake.read_exactly(4)
    if version != 5:  # noqa: PLR2004  the protocol's own number
        raise ProxyFault("its answer was not SOCKS5")
    if (number := _DESTINATION_ERRORS.get(reply)) is not None:
        raise OSError(number, os.strerror(number))
    if reply:
        raise ProxyFault(_PROXY_ERRORS.get(reply, f"it answered {reply}"))
    length = _ADDRESS_BYTES.get(kind) or (await handshake.read_exactly(1))[0]
    await handshake.read_exactly(length + 2)


class ProxyHandshake(asyncio.Protocol):
    """A new connection to a proxy, until it leads to a receiver."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_arrived = asyncio.Event()
        self._is_closed = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Add to the buffer."""
        self._buffer += data
        self._data_arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the reader."""
        del exc  # the reader only needs to know that it is over
        self._is_closed = True
        self._data_arrived.set()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes; dropped if the connection is gone."""
        if self.transport is not None:
            self.transport.write(data)

    async def read_exactly(self, count: int) -> bytes:
        """Read exactly this many bytes; raises ProxyFault when they do not come."""
        return await self._read_next(lambda buffer: count if len(buffer) >= count else None)

    async def read_until(self, end: bytes, *, max_bytes: int) -> bytes:
        """Read up to this end, after which nothing may follow yet; raises ProxyFault."""

        def find_end(buffer: bytes | bytearray) -> int | None:
            position = buffer.find(end)
            if len(buffer) > max_bytes or 0 <= position < len(buffer) - len(end):
                raise ProxyFault("it said more than an answer")
            return None if position < 0 else len(buffer)

        return await self._read_next(find_end)

    async def _read_next(self, measure: Callable[[bytes | bytearray], int | None]) -> bytes:
        """Wait until `measure` finds that the buffer is long enough, and take as much as it says."""
        while (count := measure(self._buffer)) is None:
            if self._is_closed:
                raise ProxyFault("it broke off the connection")
            self._data_arrived.clear()
            await self._data_arrived.wait()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _encode_host(host: str) -> bytes:
    """Encode a host for SOCKS5: its kind, and the address or name."""
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes((0x03, len(name))) + name
    return bytes((0x01 if isinstance(address, IPv4Address) else 0x04,)) + address.packed
