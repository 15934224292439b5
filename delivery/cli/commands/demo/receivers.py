"""The demo's receivers, on loopback: each takes what it is sent and answers in its own manner."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import time
from collections import Counter, deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from delivery.clock import clock
from delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from datetime import datetime

SHOWN_ARRIVALS = 6
UNWELL_SECONDS = 5.0


class Verifier(Protocol):
    """What of the `standardwebhooks` package is used: raises ValueError's kin for anything but a good one."""

    def verify(self, data: bytes, headers: Mapping[str, str]) -> object:
        """Check a delivery."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that came in."""

    at: datetime
    receiver: str
    event_id: str
    answer: str


@dataclass(slots=True)
class Receiver:
    """One destination, and what came in there. `unwell`: how many seconds it refuses all, from the first."""

    name: str
    manners: str
    schedule: tuple[int, ...]
    unwell: float = 0.0
    down: bool = False
    unwell_until: float | None = None
    url: str = ""
    verifier: Verifier | None = None
    seen: Counter[str] = field(default_factory=Counter)
    verified: Counter[str] = field(default_factory=Counter)
    forged: int = 0
    refused: int = 0
    arrivals: deque[Arrival] = field(default_factory=deque)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one delivery: verify it, then behave as this receiver behaves."""
        body = await request.read()
        event_id = request.headers.get("webhook-id", "")
        self.seen[event_id] += 1
        if not self._is_genuine(body, request.headers):
            self.forged += 1
            return self._say(event_id, 401, "signature does not verify")
        if self._is_unwell():
            self.refused += 1
            return self._say(event_id, 500, "refused")
        self.verified[event_id] += 1
        return self._say(event_id, 200, "verified")

    def _is_unwell(self) -> bool:
        now = time.monotonic()
        if self.unwell_until is None:
            self.unwell_until = now + self.unwell
        return now < self.unwell_until

    def _is_genuine(self, body: bytes, headers: Mapping[str, str]) -> bool:
        if self.verifier is None:
            return False
        try:
            self.verifier.verify(body, headers)
        except Exception:  # noqa: BLE001  the package lets many kinds of error out for what is not genuine
            return False
        return True

    def _say(self, event_id: str, status: int, answer: str) -> web.Response:
        self.arrivals.append(Arrival(clock(), self.name, event_id, answer))
        return web.Response(status=status)


def the_three() -> tuple[Receiver, Receiver, Receiver]:
    """One that is well, one that recovers, one that is down. Schedules are in seconds."""
    arrivals: deque[Arrival] = deque(maxlen=SHOWN_ARRIVALS)
    return (
        Receiver("warehouse", "verifies signatures", (0, 1, 2, 4), arrivals=arrivals),
        Receiver(
            "billing", "fails, then recovers", (0, 1, 2, 4, 8), unwell=UNWELL_SECONDS, arrivals=arrivals
        ),
        Receiver("crm", "is down", (0, 1, 2, 3_600), down=True, arrivals=arrivals),
    )


def verifier_for(secret: str) -> Verifier:
    """A verifier of the reference library. Raises Misconfigured where that is not installed."""
    if importlib.util.find_spec("standardwebhooks") is None:
        raise Misconfigured(
            "The demo's receivers verify with the package `standardwebhooks`: "
            "pip install 'waybill-engine[demo]'."
        )
    verifier: Verifier = importlib.import_module("standardwebhooks").Webhook(secret)
    return verifier


@asynccontextmanager
async def listening(receivers: tuple[Receiver, ...]) -> AsyncIterator[None]:
    """Give each receiver an address and answer there; nobody answers for the one that is down."""
    runners: list[web.ServerRunner] = []
    with _nobody() as nowhere:
        try:
            for receiver in receivers:
                if receiver.down:
                    receiver.url = nowhere
                    continue
                runner = web.ServerRunner(web.Server(receiver.answer, access_log=None))
                runners.append(runner)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                receiver.url = "http://{}:{}/hooks".format(*runner.addresses[0][:2])
            yield
        finally:
            for runner in runners:
                await runner.cleanup()


@contextmanager
def _nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "http://{}:{}/hooks".format(*taken.getsockname())
