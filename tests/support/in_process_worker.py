"""A worker for tests: the real dispatcher, transport and recorder on a real ledger, without a queue."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.clock import clock
from delivery.destinations.dns import Lookup, resolve_with_system
from delivery.destinations.http.tls import create_tls_context
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.formats import EventOrigin
from delivery.domain.networks import AllowList
from delivery.pipeline.concurrency import ConcurrencyLimiter
from delivery.pipeline.destination_cache import DestinationCache, EndpointDefaults
from delivery.pipeline.dispatcher import Dispatcher, RuntimeDeps, WorkerConfig
from delivery.pipeline.recorder import Recorder
from retries.backoff import parse_schedule
from retries.health import HealthConfig
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from delivery.domain.egress import Proxy
    from delivery.ledger.db.session import Ledger

SCHEDULE = parse_schedule((0, 5, 300))
LOOPBACK = Guard(AllowList.parse("127.0.0.0/8"))
SHORT_DURATION = timedelta(seconds=0.3)


ORIGIN = EventOrigin("/shops", "https://waybill.example")
HEALTH_TERMS = HealthConfig(max_in_flight=build.HIGH_IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a worker of a test is to work."""

    timeout: timedelta = timedelta(seconds=10)
    lease: timedelta = build.LEASE
    max_fresh: int = 256
    max_in_flight: int = 2_000
    detach_after: timedelta = timedelta(seconds=2)
    max_response_bytes: int = 65_536
    health: HealthConfig = HEALTH_TERMS
    guard: Guard = LOOPBACK
    lookup: Lookup = resolve_with_system
    proxy: Proxy | None = None
    origin: EventOrigin = ORIGIN
    tls: Callable[[], ssl.SSLContext] = create_tls_context


@asynccontextmanager
async def run_worker(ledger: Ledger, spec: WorkerSpec | None = None) -> AsyncIterator[Dispatcher]:
    """A dispatcher that may connect to loopback by default; at the end nothing is in flight."""
    spec = spec or WorkerSpec()
    transport = Transport(guard=spec.guard, lookup=spec.lookup, proxy=spec.proxy, create_tls=spec.tls)
    defaults = EndpointDefaults(SCHEDULE, spec.timeout, timedelta(seconds=30), spec.health, spec.origin)
    dispatcher = Dispatcher(
        ledger,
        transport,
        DestinationCache(ledger, build.BOX, defaults),
        Recorder(ledger, lambda: 0.0),
        ConcurrencyLimiter(
            max_fresh=spec.max_fresh, max_total=spec.max_in_flight, slow_after=spec.detach_after
        ),
        WorkerConfig("worker 1", spec.lease, timedelta(seconds=5), spec.max_response_bytes),
        RuntimeDeps(clock, lambda: 0.0),
    )
    try:
        yield dispatcher
    finally:
        await dispatcher.drain(timedelta(0))
        await transport.aclose()


async def wait_until_idle(dispatcher: Dispatcher) -> None:
    """Wait until everything that was started has ended."""
    await dispatcher.drain(timedelta(seconds=30))
