"""Receivers for tests: real TCP and TLS servers on loopback that answer well, badly or not at all.

A receiver holds one conversation per connection: a coroutine that reads requests and writes raw bytes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from datetime import datetime

LOOPBACK = "127.0.0.1"
CHUNK = b"x" * 16_384


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        pairs = (line.decode("latin-1").split(": ", 1) for line in self.head.split(b"\r\n")[1:] if line)
        return {name.lower(): value for name, value in pairs}


@dataclass(slots=True)
class Conversation:
    """One connection, seen from the receiver's side. `number` counts connections from 1."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[ReceivedRequest]

    async def read_request(self) -> ReceivedRequest:
        """Read one whole request; raises IncompleteReadError when the other side has closed."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        received = ReceivedRequest(head, b"")
        length = int(received.headers.get("content-length", "0"))
        received = ReceivedRequest(head, await self.reader.readexactly(length))
        self.requests.append(received)
        return received

    async def write_bytes(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def write_for_ever(self, raw: bytes, *, every: float = 0) -> None:
        while True:
            await asyncio.sleep(every)
            await self.write_bytes(raw)

    async def wait_for_close(self) -> None:
        while await self.reader.read(65_536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(slots=True)
class Receiver:
    """A running receiver: where it is, and what it has seen so far."""

    port: int
    scheme: str = "http"
    host: str = LOOPBACK
    connections: int = 0
    open_connections: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)

    def url(self, path: str = "/hook", *, host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"


@asynccontextmanager
async def run_receiver(
    handler: Callable[[Conversation], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    host: str = LOOPBACK,
    port: int = 0,
) -> AsyncIterator[Receiver]:
    """Run a receiver that holds `talk` on each connection, and then closes it."""
    receiver = Receiver(port, "https" if tls else "http", host)
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = asyncio.current_task()
        assert here is not None
        talks.add(here)
        receiver.connections += 1
        receiver.open_connections += 1
        try:
            # RuntimeError: what uvloop raises for a write when the other side has gone.
            with suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
                await handler(Conversation(receiver.connections, reader, writer, receiver.requests))
        except asyncio.CancelledError:
            pass  # the test is over; asyncio's streams would report it as an error
        finally:
            receiver.open_connections -= 1
            writer.transport.close()
            talks.discard(here)

    server = await asyncio.start_server(accept, host, port, ssl=tls, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for running in list(talks):
            running.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  a socket's end has no event of its own here
            await asyncio.sleep(0.005)


def make_response(status: str = "200 OK", body: bytes = b"ok", *headers: str) -> bytes:
    """Write a whole, honest answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def answer_always(raw: bytes) -> Callable[[Conversation], Awaitable[None]]:
    """Answer every request with these bytes, and keep the connection."""

    async def talk(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await conversation.write_bytes(raw)

    return talk


def answer_once(raw: bytes) -> Callable[[Conversation], Awaitable[None]]:
    """Answer the first request with these bytes, then close."""

    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(raw)

    return talk


async def answer_never(conversation: Conversation) -> None:
    """Take the request and say nothing, until the other side goes away."""
    await conversation.read_request()
    await conversation.wait_for_close()


async def reset_connection(conversation: Conversation) -> None:
    """Take the request and reset the connection."""
    await conversation.read_request()
    conversation.reset()


def reset_after(raw: bytes) -> Callable[[Conversation], Awaitable[None]]:
    """Take the request, send these bytes, then reset the connection once they have been sent."""

    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(raw)
        await asyncio.sleep(0.05)  # a reset may overtake what was sent just before it
        conversation.reset()

    return talk


def answer_endlessly(
    start: bytes, chunk: bytes, *, every: float = 0
) -> Callable[[Conversation], Awaitable[None]]:
    """Take the request, send `start`, and then `piece` again and again, without an end."""

    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(start)
        await conversation.write_for_ever(chunk, every=every)

    return talk


async def never_read(conversation: Conversation) -> None:
    """Never read: what the buffers on the way cannot hold stays with the sender."""
    del conversation
    await asyncio.Event().wait()


@contextmanager
def open_trap(host: str = LOOPBACK, port: int = 0, *, backlog: int = 16) -> Iterator[socket.socket]:
    """Listen without accepting: `has_caught` tells whether anybody has knocked."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
        listener.settimeout(0)
        yield listener


def was_dialled(listener: socket.socket) -> bool:
    """Whether a connection was made to a trap. On loopback it is there as soon as it was dialled."""
    try:
        caught, _ = listener.accept()
    except BlockingIOError:
        return False
    caught.close()
    return True


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A certificate authority of the tests' own."""

    authority: trustme.CA = field(default_factory=trustme.CA)

    def make_server_context(self, *names: str) -> ssl.SSLContext:
        """Make a server's context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def make_mutual_tls_context(self, *names: str, client_authority: CertificateAuthority) -> ssl.SSLContext:
        """Make a server's context that wants a certificate of another authority from its clients."""
        context = client_authority.add_trust(self.make_server_context(*names))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def make_client_certificate(self, name: str, *, until: datetime | None = None) -> tuple[str, str]:
        """Make a certificate for a client and its key, as PEM."""
        made = self.authority.issue_cert(common_name=name, not_after=until)
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        return chain.decode(), made.private_key_pem.bytes().decode()

    def make_expired_server_context(self, *names: str, since: datetime, until: datetime) -> ssl.SSLContext:
        """Make a server's context with a certificate that was valid then."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, not_before=since, not_after=until).configure_cert(context)
        return context

    def add_trust(self, client: ssl.SSLContext) -> ssl.SSLContext:
        """Let a client's context trust this authority."""
        self.authority.configure_trust(client)
        return client
