"""Wiring: the only place where the engine's objects meet. One function for each process, on its own loop."""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251  this is the edge
import re
import secrets
import socket
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from delivery import metrics
from delivery.accept import Accepter, AcceptLimits
from delivery.accept.expected import Expected
from delivery.audit import Audit
from delivery.catalogue import Catalogue
from delivery.deliveries import Deliveries
from delivery.dispatch import Dispatcher
from delivery.dispatch.destinations import Defaults, Destinations
from delivery.dispatch.dispatcher import Edge, Terms
from delivery.dispatch.gate import Gate
from delivery.dispatch.recorder import Recorder
from delivery.endpoints import Endpoints, EndpointTerms
from delivery.erasure import Erasure
from delivery.errors import Misconfigured
from delivery.exporting import Exports
from delivery.figures import Figures, Rolling
from delivery.ingest import Ingest, RefusedMessages
from delivery.keys import Keys, KeyTerms
from delivery.ledger import Ledger
from delivery.metrics.exposition import Door
from delivery.metrics.statsd import Sink, parse_place
from delivery.names import Names
from delivery.people import Passwords, People
from delivery.replay import Advancer, Replays
from delivery.resealing import Resealing
from delivery.retiring import Retention
from delivery.secrets import SecretBox
from delivery.tenants import Tenants
from delivery.tracing import Traces
from delivery.transport import LAST_PORT, AllowList, BadProxy, BadSource, Guard, Proxy, Sources, Transport
from delivery.transport.sources import ANY_SOURCE
from delivery.whose import Whose
from retries.backoff import DEFAULT_SCHEDULE, Schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.config import Settings
    from delivery.spans.otel import Spans

_SAMPLE_SECONDS = 5.0
_PORT = re.compile("[0-9]{1,5}")


def clock() -> datetime:
    """The time now, in UTC: the engine's only clock."""
    return datetime.now(UTC)


def dice() -> float:
    """A throw in [-1, 1]: the engine's only randomness besides ids and keys."""
    # Nobody gains by guessing it, and asking the kernel lets go of the interpreter's lock every time.
    return random.uniform(-1, 1)  # noqa: S311  it spreads retries


def open_ledger(settings: Settings, application: str) -> Ledger:
    """The ledger of WAYBILL_DATABASE_URL. Raises Misconfigured."""
    if settings.database_url is None:
        raise Misconfigured(
            "WAYBILL_DATABASE_URL is not set, such as postgresql://user:password@host/waybill"
        )
    url = settings.database_url.get_secret_value()
    return Ledger(url, pool_size=settings.pool_size, application=f"waybill {application}")


def secret_box(settings: Settings) -> SecretBox:
    """What seals and opens secrets at rest. Raises Misconfigured."""
    if settings.secret_keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; `waybill secrets generate-key` makes one.")
    return SecretBox.from_keys(settings.secret_keys.get_secret_value())


def guard(settings: Settings) -> Guard:
    """What may be dialled. Raises Misconfigured for networks or ports that cannot be read."""
    parts = [part.strip() for part in settings.allow_ports.split(",") if part.strip()]
    if not all(_PORT.fullmatch(part) and 0 < int(part) <= LAST_PORT for part in parts):
        raise Misconfigured(f"WAYBILL_ALLOW_PORTS must be numbers from 1 to {LAST_PORT}, comma separated")
    try:
        networks = AllowList.parse(settings.allow_networks)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_ALLOW_NETWORKS: {error}") from None
    return Guard(networks, frozenset(map(int, parts)) or None)


def transport(settings: Settings) -> Transport:
    """The guarded way out. Raises Misconfigured."""
    return Transport(guard=guard(settings), proxy=egress_proxy(settings), sources=egress_sources(settings))


def egress_sources(settings: Settings) -> Sources:
    """Where deliveries come from. Raises Misconfigured, also for addresses that this machine has not."""
    if settings.egress_address is None:
        return ANY_SOURCE
    try:
        sources = Sources.parse(settings.egress_address)
        sources.check()
    except BadSource as error:
        raise Misconfigured(f"WAYBILL_EGRESS_ADDRESS: {error}") from None
    return sources


def egress_proxy(settings: Settings) -> Proxy | None:
    """What deliveries go through, if anything. Raises Misconfigured."""
    if settings.egress_proxy is None:
        return None
    try:
        return Proxy.parse(settings.egress_proxy.get_secret_value())
    except BadProxy as error:
        raise Misconfigured(f"WAYBILL_EGRESS_PROXY: {error}") from None


@asynccontextmanager
async def watched(
    settings: Settings, ledger: Ledger, *, port: int | None, dispatcher: Dispatcher | None = None
) -> AsyncIterator[None]:
    """Have a process's metrics be had while the block runs: on a port, at a statsd. Raises Misconfigured."""
    with ExitStack() as exits:
        if port is not None:
            door = Door(settings.metrics_host, port)
            door.open()
            exits.callback(door.close)
        if (place := statsd_place(settings)) is not None:
            sink = Sink(*place)
            sink.open()
            exits.callback(sink.close)
        sampling = asyncio.create_task(_sample(ledger, dispatcher))
        try:
            yield
        finally:
            sampling.cancel()


def statsd_place(settings: Settings) -> tuple[str, int] | None:
    """Where statsd is, if anywhere: host and port. Raises Misconfigured."""
    if settings.statsd is None:
        return None
    try:
        return parse_place(settings.statsd)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_STATSD: {error}") from None


async def _sample(ledger: Ledger, dispatcher: Dispatcher | None) -> None:
    """Note every few seconds how the pool stands, and how much is on its way."""
    while True:
        used, idle = ledger.pool
        metrics.pool(used=used, idle=idle)
        if dispatcher is not None:
            metrics.in_flight(dispatcher.in_flight)
        await asyncio.sleep(_SAMPLE_SECONDS)


def default_schedule(settings: Settings) -> Schedule:
    """The retry schedule of endpoints that have none of their own. Raises Misconfigured."""
    if settings.retry_schedule is None:
        return DEFAULT_SCHEDULE
    try:
        return parse_schedule(settings.retry_schedule)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_RETRY_SCHEDULE: {error}") from None


def check_spans(settings: Settings) -> None:
    """Raise Misconfigured where traces are wanted and the libraries are not there."""
    if settings.opentelemetry:
        _load_spans()


def spans(settings: Settings, process: str) -> Spans | None:
    """Where a process sends its spans; None where nobody wants any. Raises Misconfigured."""
    return _load_spans()(process) if settings.opentelemetry else None


def _load_spans() -> type[Spans]:
    try:
        from delivery.spans.otel import Spans  # noqa: PLC0415  slow to load, and seldom wanted
    except ImportError:
        raise Misconfigured(
            "WAYBILL_OPENTELEMETRY needs its libraries: pip install 'waybill[otel]'"
        ) from None
    return Spans


# What is made of settings that may turn out not to be usable, each with a word of its own.
PARTS: Final = (
    secret_box,
    guard,
    egress_proxy,
    egress_sources,
    default_schedule,
    check_spans,
    statsd_place,
)


def retention(settings: Settings, ledger: Ledger) -> Retention:
    """What takes away what is past its term."""
    return Retention(ledger, settings.retention, clock=clock)


def rolling(settings: Settings, ledger: Ledger) -> Rolling:
    """What counts attempts for figures over time."""
    return Rolling(ledger, kept=timedelta(days=settings.retention_attempts_days), clock=clock)


def key_terms(settings: Settings) -> KeyTerms:
    """What the operator says of API keys."""
    operator = settings.operator_key
    return KeyTerms(
        operator_key=None if operator is None else operator.get_secret_value(),
        overlap=timedelta(hours=settings.rotation_overlap_hours),
        requests_per_second=settings.key_requests_per_second,
    )


def resealing(settings: Settings, ledger: Ledger) -> Resealing:
    """What brings sealed values under the newest key. Raises Misconfigured."""
    return Resealing(ledger, secret_box(settings), clock=clock)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker process holds."""

    ledger: Ledger
    transport: Transport
    dispatcher: Dispatcher
    advancer: Advancer
    spans: Spans | None

    async def close(self) -> None:
        """Close connections to receivers and to the ledger; send what is left of spans."""
        await self.transport.aclose()
        await self.ledger.close()
        if self.spans is not None:
            await asyncio.to_thread(self.spans.close)


async def worker_parts(settings: Settings) -> WorkerParts:
    """Wire a worker on the running loop."""
    ledger = open_ledger(settings, "worker")
    way_out = transport(settings)
    of_worker = spans(settings, "worker")
    defaults = Defaults(
        default_schedule(settings),
        timeout=timedelta(seconds=settings.attempt_timeout),
        longest=settings.longest_attempt,
        health=settings.health_terms,
        origin=settings.origin,
    )
    dispatcher = Dispatcher(
        ledger,
        way_out,
        Destinations(ledger, secret_box(settings), defaults),
        Recorder(ledger, dice),
        Gate(
            fresh=settings.worker_concurrency,
            most=settings.worker_in_flight_max,
            detach=timedelta(seconds=settings.detach_seconds),
        ),
        Terms(
            worker=f"{socket.gethostname()}:{os.getpid()}",
            lease=settings.lease,
            connect=timedelta(seconds=settings.connect_timeout),
            response_bytes=settings.response_max_bytes,
            tells_all=settings.log_attempts == "all",
        ),
        Edge(clock, dice, of_worker),
    )
    advancer = Advancer(ledger, in_flight=settings.endpoint_in_flight_max)
    return WorkerParts(ledger, way_out, dispatcher, advancer, of_worker)


@dataclass(frozen=True, slots=True)
class Services:
    """What the doors open onto: the use cases of one process."""

    settings: Settings
    ledger: Ledger
    accepter: Accepter
    tenants: Tenants
    keys: Keys
    endpoints: Endpoints
    deliveries: Deliveries
    replays: Replays
    exports: Exports
    traces: Traces
    erasure: Erasure
    audit: Audit
    catalogue: Catalogue
    names: Names
    figures: Figures
    people: People
    whose: Whose
    ingest: Ingest
    messages: RefusedMessages
    spans: Spans | None = None

    async def close(self) -> None:
        """Finish what is written beside requests, and close the connections to the ledger."""
        await self.keys.settle()
        await self.ledger.close()
        if self.spans is not None:
            await asyncio.to_thread(self.spans.close)


def services(settings: Settings, ledger: Ledger, *, spans: Spans | None = None) -> Services:
    """Wire the use cases; with `spans`, events that are accepted are traced. Raises Misconfigured."""
    terms = EndpointTerms(
        guard=guard(settings),
        allow_http=settings.allow_http,
        longest_timeout=settings.longest_attempt,
        overlap=timedelta(hours=settings.rotation_overlap_hours),
        health=settings.health_terms,
    )
    limits = AcceptLimits(event_bytes=settings.event_max_bytes, batch_events=settings.batch_max_events)
    box = secret_box(settings)
    expected = Expected(ledger, clock=clock)
    accepter = Accepter(ledger, limits=limits, clock=clock, expected=expected, traced=spans is not None)
    keys = Keys(ledger, key_terms(settings), clock=clock, random_bytes=secrets.token_bytes)
    return Services(
        settings=settings,
        ledger=ledger,
        accepter=accepter,
        tenants=Tenants(ledger, settings.retention, clock=clock),
        keys=keys,
        endpoints=Endpoints(ledger, box, terms, clock=clock, random_bytes=secrets.token_bytes),
        deliveries=Deliveries(
            ledger, clock=clock, in_flight=settings.endpoint_in_flight_max, origin=settings.origin
        ),
        replays=Replays(ledger, clock=clock, in_flight=settings.endpoint_in_flight_max),
        exports=Exports(ledger, clock=clock, in_flight=settings.endpoint_in_flight_max),
        traces=Traces(
            ledger,
            attempts=len(default_schedule(settings)),
            in_flight=settings.endpoint_in_flight_max,
        ),
        erasure=Erasure(ledger, clock=clock),
        audit=Audit(ledger),
        catalogue=Catalogue(ledger, expected, clock=clock),
        names=Names(ledger),
        figures=Figures(ledger, clock=clock, in_flight=settings.endpoint_in_flight_max),
        people=People(
            ledger,
            Passwords(),
            lasts=timedelta(hours=settings.session_hours),
            clock=clock,
            random_bytes=secrets.token_bytes,
        ),
        whose=Whose(ledger),
        ingest=Ingest(ledger, accepter, keys, clock=clock),
        messages=RefusedMessages(ledger, accepter, clock=clock),
        spans=spans,
    )
