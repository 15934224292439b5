"""A TCP proxy in a thread of its own, before a real server: passes on, is heard by ears, makes weather."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

ByteListener = Callable[[bytes], None]
_READ_SIZE = 1 << 16
_RESET_LINGER = struct.pack("ii", 1, 0)


class ConnectionCut(Exception):
    """Raised by a listener so that the bytes are not forwarded and the connection ends."""


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """How a proxy forwards: in pieces of this size, each this many seconds late, or not at all."""

    delay_seconds: float = 0.0
    chunk_bytes: int = _READ_SIZE
    is_stalled: bool = False
    is_refusing: bool = False


NORMAL_CONDITIONS = NetworkConditions()


def _ignore_bytes(_data: bytes) -> None:
    """Hear nothing."""


def make_no_listeners() -> tuple[ByteListener, ByteListener]:
    """Nobody listens."""
    return _ignore_bytes, _ignore_bytes


def share_listeners(
    *, on_client_bytes: ByteListener = _ignore_bytes, on_server_bytes: ByteListener = _ignore_bytes
) -> Callable[[], tuple[ByteListener, ByteListener]]:
    """The same two for every connection."""
    return lambda: (on_client_bytes, on_server_bytes)


class TcpProxy:
    """Listens on loopback from `with` on. `ears` makes two for each connection: client's, server's bytes.

    `server` and `weather` may be changed at any time; the one counts for new connections, the other for all.
    """

    def __init__(
        self,
        host: str,
        port: int,
        make_listeners: Callable[[], tuple[ByteListener, ByteListener]] = make_no_listeners,
    ) -> None:
        self.server = (host, port)
        self.conditions = NORMAL_CONDITIONS
        self._ears = make_listeners
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._deaf: list[Exception] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._door = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connect, "127.0.0.1", 0), self._loop
        ).result()
        self.port = int(self._door.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def raise_listener_error(self) -> None:
        """Raise what an ear could not understand: a count without it would be too low."""
        if self._deaf:
            raise self._deaf[0]

    def reset_connections(self) -> None:
        """End every connection with RST on both sides, as a device on the way that has forgotten them."""
        asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()

    async def _reset(self) -> None:
        for task, writers in list(self._connections.items()):
            for writer in writers:
                raw = writer.get_extra_info("socket")
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_LINGER)
                writer.transport.abort()
            task.cancel()

    async def _close(self) -> None:
        self._door.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.conditions.is_refusing:
            writer.transport.abort()
            return
        self._connections[task] = [writer]
        task.add_done_callback(self._connections.pop)
        # A server that is not there, either side that has gone, and the end of the test.
        with suppress(OSError, asyncio.CancelledError):
            await self._forward(reader, writer, self._connections[task])
        writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, writers: list[asyncio.StreamWriter]
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.server)
        writers.append(server_writer)
        of_client, of_server = self._ears()
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, of_client),
                self._pump(server_reader, writer, of_server),
            )
        except ConnectionCut:
            writer.transport.abort()
        finally:
            server_writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, ear: ByteListener
    ) -> None:
        while data := await source.read(_READ_SIZE):
            # Heard before it is passed on: who has got an answer finds its question counted.
            try:
                ear(data)
            except ConnectionCut:
                raise
            except Exception as error:  # noqa: BLE001  the connection lives on, and `check` tells
                self._deaf.append(error)
            await self._write_with_conditions(data, target)
        target.close()

    async def _write_with_conditions(self, data: bytes, target: asyncio.StreamWriter) -> None:
        at = 0
        while at < len(data):
            while self.conditions.is_stalled:  # noqa: ASYNC110  changed from other threads
                await asyncio.sleep(0.02)
            weather = self.conditions
            if weather.delay_seconds:
                await asyncio.sleep(weather.delay_seconds)
            target.write(data[at : at + weather.chunk_bytes])
            await target.drain()
            at += weather.chunk_bytes
