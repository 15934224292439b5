"""A partner: a receiver in its own thread that verifies, counts, and answers as configured."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from standardwebhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class CannedResponse:
    """What to answer, and after how long."""

    status: int = 200
    delay: float = 0.0
    headers: tuple[str, ...] = ()
    body: bytes = b""

    def to_bytes(self) -> bytes:
        """The answer as it goes over the wire."""
        extra = "".join(f"{line}\r\n" for line in self.headers)
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n{extra}\r\n"
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


class Partner:
    """Listens on loopback from `with` on. `answer` decides each answer; `secret` is what verifies."""

    def __init__(
        self, answer: Callable[[ReceivedCall], CannedResponse] = lambda _call: CannedResponse()
    ) -> None:
        self.answer = answer
        self.secret: str | None = None
        self.calls: list[ReceivedCall] = []
        self.unverified: list[ReceivedCall] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="partner", daemon=True)
        self._conversations: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._handle_connection, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def count_by_message_id(self) -> Counter[str]:
        """How often each message id came."""
        return Counter(call.message_id for call in self.calls)

    async def _close(self) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                call = await _read_call(reader)
                self._record_call(call)
                answer = self.answer(call)
                await asyncio.sleep(answer.delay)
                writer.write(answer.to_bytes())
                await writer.drain()
        writer.close()

    def _record_call(self, call: ReceivedCall) -> None:
        if self.secret is not None:
            try:
                Webhook(self.secret).verify(call.body, call.headers)
            except WebhookVerificationError:
                self.unverified.append(call)
        self.calls.append(call)


async def _read_call(reader: asyncio.StreamReader) -> ReceivedCall:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return ReceivedCall(lines[0].split(" ")[1], headers, body)
