"""Who receives: some who are always well, verify and count, and some who answer in every bad way there is."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import threading
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.support.partner import Answer, Partner
from tests.support.receivers import (
    CHUNK,
    Authority,
    always,
    answer,
    drip,
    never,
    once,
    receiving,
    reset_after,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.partner import Call
    from tests.support.receivers import Conversation

    Talk = Callable[[Conversation], Awaitable[None]]

GIGABYTE = 1 << 30
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_SOON_AFTER = datetime(2020, 6, 1, tzinfo=UTC)


class Well(Partner):
    """A receiver who is always well: says 200, counts what came, and keeps the digest of each body."""

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__(self._answer)
        # One that does not keep connections has its name looked up for each request.
        self._headers = () if keeps else ("Connection: close",)
        self.times: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.changed: list[str] = []

    def _answer(self, call: Call) -> Answer:
        text = json.loads(call.body)["data"].get("text", "")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self.digests.setdefault(call.message_id, digest) != digest:
            self.changed.append(call.message_id)
        self.times[call.message_id] += 1
        self.calls.clear()  # counted: an hour of them need not be kept
        return Answer(headers=self._headers)

    def lacks(self, events: set[str]) -> set[str]:
        """Which of these events have not come."""
        return events - self.times.keys()


async def _gigabyte(conversation: Conversation) -> None:
    await conversation.hear()
    await conversation.say(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
    for _ in range(GIGABYTE // len(CHUNK)):
        await conversation.say(CHUNK)


def _talks() -> dict[str, Talk]:
    """Every bad way to answer, by its name."""
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of"
    many = [f"X-{number}: {number}" for number in range(5_000)]
    bomb = gzip.compress(b"\0" * 50_000_000)
    return {
        "reset in the middle of a body": reset_after(part),
        "byte by byte": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", every=0.05),
        "never": never,
        "1 GiB": _gigabyte,
        "gzip bomb": always(answer("200 OK", bomb, "Content-Encoding: gzip")),
        "invalid HTTP": once(b"\x16\x03\x01 what?\r\n\r\n"),
        "5,000 headers": once(answer("200 OK", b"ok", *many)),
        "HTTP/1.0": once(b"HTTP/1.0 200 OK\r\n\r\nfine"),
        "redirect loop": always(answer("302 Found", b"", "Location: /hook")),
        "flood of 1xx": drip(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100, every=0.01),
    }


@contextmanager
def unwell(authority_file: Path) -> Iterator[dict[str, str]]:
    """Run one receiver for each bad way, on a thread of their own: the URL of each, by its name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="unwell", daemon=True)
    thread.start()
    exits = AsyncExitStack()
    authority = Authority()
    authority.authority.cert_pem.write_to_path(str(authority_file))

    async def begin() -> dict[str, str]:
        urls = {}
        for name, talk in _talks().items():
            urls[name] = (await exits.enter_async_context(receiving(talk))).url()
        expired = authority.server_of_the_past("localhost", since=_LONG_AGO, until=_SOON_AFTER)
        receiver = await exits.enter_async_context(receiving(always(answer()), tls=expired))
        return urls | {"expired certificate": receiver.url(host="localhost")}

    try:
        yield asyncio.run_coroutine_threadsafe(begin(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(exits.aclose(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
