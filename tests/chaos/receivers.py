"""The receivers: healthy ones that verify and count, and ones that answer in every bad way."""

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

from tests.support.receivers import (
    CHUNK,
    CertificateAuthority,
    answer_always,
    answer_endlessly,
    answer_never,
    answer_once,
    make_response,
    reset_after,
    run_receiver,
)
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.receivers import Conversation
    from tests.support.webhook_partner import ReceivedCall

    Talk = Callable[[Conversation], Awaitable[None]]

GIGABYTE = 1 << 30
_CERTIFICATE_START = datetime(2020, 1, 1, tzinfo=UTC)
_CERTIFICATE_END = datetime(2020, 6, 1, tzinfo=UTC)


class ReliableReceiver(Partner):
    """A receiver who is always well: says 200, counts what came, and keeps the digest of each body."""

    def __init__(self, *, keep_alive: bool = True) -> None:
        super().__init__(self._answer)
        # One that does not keep connections has its name looked up for each request.
        self._headers = () if keep_alive else ("Connection: close",)
        self.counts: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.changed_bodies: list[str] = []

    def _answer(self, call: ReceivedCall) -> CannedResponse:
        text = json.loads(call.body)["data"].get("text", "")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self.digests.setdefault(call.message_id, digest) != digest:
            self.changed_bodies.append(call.message_id)
        self.counts[call.message_id] += 1
        self.calls.clear()  # counted: an hour of them need not be kept
        return CannedResponse(headers=self._headers)

    def find_missing(self, events: set[str]) -> set[str]:
        """Which of these events have not come."""
        return events - self.counts.keys()


async def _answer_gigabyte(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.write_bytes(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
    for _ in range(GIGABYTE // len(CHUNK)):
        await conversation.write_bytes(CHUNK)


def _bad_handlers() -> dict[str, Talk]:
    """Every bad way to answer, by its name."""
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of"
    many = [f"X-{number}: {number}" for number in range(5_000)]
    bomb = gzip.compress(b"\0" * 50_000_000)
    return {
        "reset in the middle of a body": reset_after(part),
        "byte by byte": answer_endlessly(
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", every=0.05
        ),
        "never": answer_never,
        "1 GiB": _answer_gigabyte,
        "gzip bomb": answer_always(make_response("200 OK", bomb, "Content-Encoding: gzip")),
        "invalid HTTP": answer_once(b"\x16\x03\x01 what?\r\n\r\n"),
        "5,000 headers": answer_once(make_response("200 OK", b"ok", *many)),
        "HTTP/1.0": answer_once(b"HTTP/1.0 200 OK\r\n\r\nfine"),
        "redirect loop": answer_always(make_response("302 Found", b"", "Location: /hook")),
        "flood of 1xx": answer_endlessly(
            b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100, every=0.01
        ),
    }


@contextmanager
def run_bad_receivers(authority_file: Path) -> Iterator[dict[str, str]]:
    """Run one receiver for each bad way, on a thread of their own: the URL of each, by its name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="unwell", daemon=True)
    thread.start()
    exits = AsyncExitStack()
    authority = CertificateAuthority()
    authority.authority.cert_pem.write_to_path(str(authority_file))

    async def begin() -> dict[str, str]:
        urls = {}
        for name, talk in _bad_handlers().items():
            urls[name] = (await exits.enter_async_context(run_receiver(talk))).url()
        expired = authority.make_expired_server_context(
            "localhost", since=_CERTIFICATE_START, until=_CERTIFICATE_END
        )
        receiver = await exits.enter_async_context(run_receiver(answer_always(make_response()), tls=expired))
        return urls | {"expired certificate": receiver.url(host="localhost")}

    try:
        yield asyncio.run_coroutine_threadsafe(begin(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(exits.aclose(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
