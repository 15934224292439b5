"""Small proxies of the tests: HTTP CONNECT and SOCKS5, which remember what they were asked for."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

PROXY_CREDENTIALS = ("waybill", "pa:ss wörd")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class FakeProxy:
    """A proxy that runs. `instead` is said in place of what it should say; `leads` is where names lead."""

    scheme: str
    canned_response: bytes | None = None
    requires_auth: bool = False
    target_host: str = "127.0.0.1"
    port: int = 0
    requested_targets: list[str] = field(default_factory=list)
    request_heads: list[bytes] = field(default_factory=list)

    def url(self, *, scheme: str | None = None, userinfo: str = "") -> str:
        return f"{scheme or self.scheme}://{userinfo}127.0.0.1:{self.port}"

    async def handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await (self._socks if self.scheme == "socks5" else self._connect)(reader, writer)
        if there is not None:
            await asyncio.gather(_copy_stream(reader, there[1]), _copy_stream(there[0], writer))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.request_heads.append(head)
        if self.canned_response is not None:
            writer.write(self.canned_response)
            return None
        where = head.split()[1].decode()
        self.requested_targets.append(where)
        there = await self._open(*where.rsplit(":", 1))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
        return there

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x02" if self.requires_auth else b"\x05\x00")
        if self.requires_auth:
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            known = (user.decode(), password.decode()) == PROXY_CREDENTIALS
            writer.write(b"\x01\x00" if known else b"\x01\x01")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, await reader.readexactly(4 if kind == 1 else 16))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.requested_targets.append(f"{host}:{port}")
        if self.canned_response is not None:
            writer.write(self.canned_response)
            return None
        there = await self._open(host, str(port))
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        return there

    async def _open(self, host: str, port: str) -> Streams:
        return await asyncio.open_connection(host if host[0].isdigit() else self.target_host, int(port))


async def _copy_stream(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while some := await source.read(65_536):
        target.write(some)
    target.close()


@asynccontextmanager
async def run_proxy(proxy: FakeProxy, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeProxy]:
    """Run a proxy; at the end nothing of it is left."""
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = asyncio.current_task()
        assert here is not None
        talks.add(here)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, RuntimeError):
                await proxy.handle_connection(reader, writer)
        finally:
            writer.close()
            talks.discard(here)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for talk in list(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
