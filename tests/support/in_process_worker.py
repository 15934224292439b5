"""A worker for tests: the real dispatcher, transport and recorder on a real ledger, without a queue."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.bootstrap import clock
from delivery.dispatch import Dispatcher
from delivery.dispatch.destinations import Defaults, Destinations
from delivery.dispatch.dispatcher import Edge, Terms
from delivery.dispatch.gate import Gate
from delivery.dispatch.recorder import Recorder
from delivery.formats import Origin
from delivery.transport import AllowList, Guard, Lookup, Proxy, Transport, verified_tls
from delivery.transport.names import system_lookup
from retries.backoff import parse_schedule
from retries.health import HealthTerms
from tests.support import ledger as on

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from delivery.ledger import Ledger

SCHEDULE = parse_schedule((0, 5, 300))
LOOPBACK = Guard(AllowList.parse("127.0.0.0/8"))
SOON = timedelta(seconds=0.3)


ORIGIN = Origin("/shops", "https://waybill.example")
JUDGED = HealthTerms(in_flight=on.PLENTY)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a worker of a test is to work."""

    timeout: timedelta = timedelta(seconds=10)
    lease: timedelta = on.LEASE
    fresh: int = 256
    most: int = 2_000
    detach: timedelta = timedelta(seconds=2)
    response_bytes: int = 65_536
    health: HealthTerms = JUDGED
    guard: Guard = LOOPBACK
    lookup: Lookup = system_lookup
    proxy: Proxy | None = None
    origin: Origin = ORIGIN
    tls: Callable[[], ssl.SSLContext] = verified_tls


@asynccontextmanager
async def working(ledger: Ledger, manner: Manner | None = None) -> AsyncIterator[Dispatcher]:
    """A dispatcher that may reach loopback unless told otherwise; at the end nothing of it is in flight."""
    manner = manner or Manner()
    transport = Transport(guard=manner.guard, lookup=manner.lookup, proxy=manner.proxy, tls=manner.tls)
    defaults = Defaults(SCHEDULE, manner.timeout, timedelta(seconds=30), manner.health, manner.origin)
    dispatcher = Dispatcher(
        ledger,
        transport,
        Destinations(ledger, on.BOX, defaults),
        Recorder(ledger, lambda: 0.0),
        Gate(fresh=manner.fresh, most=manner.most, detach=manner.detach),
        Terms("worker 1", manner.lease, timedelta(seconds=5), manner.response_bytes),
        Edge(clock, lambda: 0.0),
    )
    try:
        yield dispatcher
    finally:
        await dispatcher.drain(timedelta(0))
        await transport.aclose()


async def finished(dispatcher: Dispatcher) -> None:
    """Wait until everything that was started has ended by itself."""
    await dispatcher.drain(timedelta(seconds=30))
