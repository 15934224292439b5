"""A TCP proxy in a thread of its own, before a real server: passes all on, and lets somebody listen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Ear = Callable[[bytes], None]
_MOST_AT_ONCE = 1 << 16


class Proxy:
    """Listens on loopback from `with` on. `ears` makes two for each connection: client's, server's bytes."""

    def __init__(self, host: str, port: int, ears: Callable[[], tuple[Ear, Ear]]) -> None:
        self._server = (host, port)
        self._ears = ears
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
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

    def check(self) -> None:
        """Raise what an ear could not understand: a count without it would be too low."""
        if self._deaf:
            raise self._deaf[0]

    async def _close(self) -> None:
        self._door.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # A server that is not there, either side that has gone, and the end of the test.
        with suppress(OSError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        of_client, of_server = self._ears()
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, of_client),
                self._pump(server_reader, writer, of_server),
            )
        finally:
            server_writer.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, ear: Ear) -> None:
        while data := await source.read(_MOST_AT_ONCE):
            # Heard before it is passed on: who has got an answer finds its question counted.
            try:
                ear(data)
            except Exception as error:  # noqa: BLE001  the connection lives on, and `check` tells
                self._deaf.append(error)
            target.write(data)
            await target.drain()
        target.close()
