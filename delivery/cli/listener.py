"""A webhook receiver for local testing: it verifies requests and answers them."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING, Final

from delivery.clock import clock
from signing import VerificationError, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MAX_BODY_BYTES: Final = 16 << 20
# The number of messages whose arrivals are counted.
MAX_REMEMBERED_MESSAGES: Final = 10_000
_SOCKET_TIMEOUT_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """How to answer: 500 to a message's first `fail_first` requests, then `status`; after `delay` seconds.

    Without `secrets` nothing is verified. `retry_after`, in seconds, is sent with answers other than 2xx.
    """

    secrets: tuple[str, ...] = ()
    status: int = HTTPStatus.NO_CONTENT
    delay: float = 0.0
    retry_after: int | None = None
    fail_first: int = 0


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """A request and its answer. `verified` is None without a secret."""

    at: datetime
    path: str
    headers: dict[str, str]
    body: bytes
    times: int
    verified: bool | None
    verification_error: str | None
    status: int

    @property
    def message_id(self) -> str:
        """The sender's `webhook-id`, or empty."""
        return self.headers.get("webhook-id", "")


@dataclass(slots=True)
class ListenReceiver:
    """Verifies requests one at a time, and counts the results."""

    reply_options: ReplyOptions
    verified: int = 0
    forged: int = 0
    requests: int = 0
    _seen: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def receive_request(
        self, path: str, headers: dict[str, str], body: bytes, *, now: datetime
    ) -> CapturedRequest:
        """Verify a request and choose the answer. Header names are lower case."""
        with self._lock:
            self.requests += 1
            verified, error = self._verify(headers, body, now)
            if verified is False:
                self.forged += 1
                return CapturedRequest(now, path, headers, body, 0, verified, error, HTTPStatus.BAD_REQUEST)
            self.verified += verified is True
            times = self._count_arrivals(headers.get("webhook-id", ""))
            failing = times <= self.reply_options.fail_first
            status = HTTPStatus.INTERNAL_SERVER_ERROR if failing else self.reply_options.status
            return CapturedRequest(now, path, headers, body, times, verified, error, status)

    def _verify(self, headers: dict[str, str], body: bytes, now: datetime) -> tuple[bool | None, str | None]:
        if not self.reply_options.secrets:
            return None, None
        try:
            verify(headers, body, self.reply_options.secrets, now=now)
        except VerificationError as error:
            return False, str(error)
        return True, None

    def _count_arrivals(self, message_id: str) -> int:
        """Count how often this message was received, this time included."""
        # Removed and added again, so that the oldest message comes first.
        times = self._seen[message_id] = self._seen.pop(message_id, 0) + 1
        if len(self._seen) > MAX_REMEMBERED_MESSAGES:
            self._seen.popitem(last=False)
        return times


def make_server(
    receiver: ListenReceiver, host: str, port: int, on_request: Callable[[CapturedRequest], None]
) -> ThreadingHTTPServer:
    """Make a server that answers as the receiver decides, and reports each request. Raises OSError."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _SOCKET_TIMEOUT_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                self._answer(413 if length.isdecimal() else 411, None)
                return
            body = self.rfile.read(int(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            captured = receiver.receive_request(self.path, headers, body, now=clock())
            on_request(captured)
            time.sleep(receiver.reply_options.delay)
            self._answer(captured.status, captured.verification_error)

        def _answer(self, status: int, why: str | None) -> None:
            body, retry_after = (why or "").encode(), receiver.reply_options.retry_after
            has_body = status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
            with suppress(OSError):  # the client has disconnected
                self.send_response(status)
                if retry_after is not None and status >= HTTPStatus.MULTIPLE_CHOICES:
                    self.send_header("Retry-After", str(retry_after))
                if has_body:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if has_body:
                    self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: `on_request` reports."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server
