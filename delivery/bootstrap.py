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

from delivery.destinations.http.proxy import BadProxy, Proxy
from delivery.destinations.http.transport import Transport
from delivery.destinations.source_address import ANY_SOURCE_ADDRESS, BadSourceAddress, SourceAddresses
from delivery.destinations.ssrf_guard import MAX_PORT, AllowList, Guard
from delivery.domain.errors import Misconfigured
from delivery.domain.secret_box import SecretBox
from delivery.ledger.db.session import Ledger
from delivery.pipeline.concurrency import ConcurrencyLimiter
from delivery.pipeline.destination_cache import DestinationCache, EndpointDefaults
from delivery.pipeline.dispatcher import Dispatcher, RuntimeDeps, WorkerConfig
from delivery.pipeline.intake import Intake
from delivery.pipeline.parsing import IntakeLimits
from delivery.pipeline.recorder import Recorder
from delivery.pipeline.schema_cache import SchemaCache
from delivery.services.accounts.passwords import PasswordService
from delivery.services.accounts.service import AccountService
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig
from delivery.services.audit import AuditService
from delivery.services.dead_letters import DeadLetterService
from delivery.services.deliveries import DeliveryService
from delivery.services.display_names import DisplayNames
from delivery.services.endpoints.service import EndpointService
from delivery.services.endpoints.validation import EndpointConfig
from delivery.services.erasure import ErasureService
from delivery.services.event_types.service import EventTypeService
from delivery.services.exports.service import ExportService
from delivery.services.key_rotation import KeyRotationService
from delivery.services.ownership import OwnershipService
from delivery.services.replays.runner import ReplayRunner
from delivery.services.replays.service import ReplayService
from delivery.services.retention import RetentionService
from delivery.services.stats.rollup import StatsRollup
from delivery.services.stats.service import StatsService
from delivery.services.tenants import TenantService
from delivery.services.timeline.service import TimelineService
from delivery.sources.amqp import AmqpIntake
from delivery.telemetry import metrics
from delivery.telemetry.metrics.prometheus import MetricsServer
from delivery.telemetry.metrics.statsd import StatsdSink, parse_host_port
from retries.backoff import DEFAULT_SCHEDULE, Schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.config import Settings
    from delivery.telemetry.tracing.otel import Tracer

_SAMPLE_INTERVAL_SECONDS = 5.0
_PORT = re.compile("[0-9]{1,5}")


def clock() -> datetime:
    """The time now, in UTC: the engine's only clock."""
    return datetime.now(UTC)


def rng() -> float:
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
    return Ledger(url, pool_size=settings.pool_size, application_name=f"waybill {application}")


def build_secret_box(settings: Settings) -> SecretBox:
    """What seals and opens secrets at rest. Raises Misconfigured."""
    if settings.secret_keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; `waybill secrets generate-key` makes one.")
    return SecretBox.from_keys(settings.secret_keys.get_secret_value())


def build_guard(settings: Settings) -> Guard:
    """What may be dialled. Raises Misconfigured for networks or ports that cannot be read."""
    parts = [part.strip() for part in settings.allow_ports.split(",") if part.strip()]
    if not all(_PORT.fullmatch(part) and 0 < int(part) <= MAX_PORT for part in parts):
        raise Misconfigured(f"WAYBILL_ALLOW_PORTS must be numbers from 1 to {MAX_PORT}, comma separated")
    try:
        networks = AllowList.parse(settings.allow_networks)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_ALLOW_NETWORKS: {error}") from None
    return Guard(networks, frozenset(map(int, parts)) or None)


def build_transport(settings: Settings) -> Transport:
    """The guarded way out. Raises Misconfigured."""
    return Transport(
        guard=build_guard(settings),
        proxy=build_egress_proxy(settings),
        source_addresses=build_egress_sources(settings),
    )


def build_egress_sources(settings: Settings) -> SourceAddresses:
    """Where deliveries come from. Raises Misconfigured, also for addresses that this machine has not."""
    if settings.egress_address is None:
        return ANY_SOURCE_ADDRESS
    try:
        sources = SourceAddresses.parse(settings.egress_address)
        sources.check_bindable()
    except BadSourceAddress as error:
        raise Misconfigured(f"WAYBILL_EGRESS_ADDRESS: {error}") from None
    return sources


def build_egress_proxy(settings: Settings) -> Proxy | None:
    """What deliveries go through, if anything. Raises Misconfigured."""
    if settings.egress_proxy is None:
        return None
    try:
        return Proxy.parse(settings.egress_proxy.get_secret_value())
    except BadProxy as error:
        raise Misconfigured(f"WAYBILL_EGRESS_PROXY: {error}") from None


@asynccontextmanager
async def expose_metrics(
    settings: Settings, ledger: Ledger, *, port: int | None, dispatcher: Dispatcher | None = None
) -> AsyncIterator[None]:
    """Have a process's metrics be had while the block runs: on a port, at a statsd. Raises Misconfigured."""
    with ExitStack() as exits:
        if port is not None:
            door = MetricsServer(settings.metrics_host, port)
            door.start()
            exits.callback(door.stop)
        if (place := parse_statsd_address(settings)) is not None:
            sink = StatsdSink(*place)
            sink.start()
            exits.callback(sink.stop)
        sampling = asyncio.create_task(_sample_gauges(ledger, dispatcher))
        try:
            yield
        finally:
            sampling.cancel()


def parse_statsd_address(settings: Settings) -> tuple[str, int] | None:
    """Where statsd is, if anywhere: host and port. Raises Misconfigured."""
    if settings.statsd is None:
        return None
    try:
        return parse_host_port(settings.statsd)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_STATSD: {error}") from None


async def _sample_gauges(ledger: Ledger, dispatcher: Dispatcher | None) -> None:
    """Note every few seconds how the pool stands, and how much is on its way."""
    while True:
        used, idle = ledger.pool_usage
        metrics.set_pool_connections(used=used, idle=idle)
        if dispatcher is not None:
            metrics.set_requests_in_flight(dispatcher.in_flight)
        await asyncio.sleep(_SAMPLE_INTERVAL_SECONDS)


def build_default_schedule(settings: Settings) -> Schedule:
    """The retry schedule of endpoints that have none of their own. Raises Misconfigured."""
    if settings.retry_schedule is None:
        return DEFAULT_SCHEDULE
    try:
        return parse_schedule(settings.retry_schedule)
    except ValueError as error:
        raise Misconfigured(f"WAYBILL_RETRY_SCHEDULE: {error}") from None


def check_tracing_available(settings: Settings) -> None:
    """Raise Misconfigured where traces are wanted and the libraries are not there."""
    if settings.opentelemetry:
        _load_tracer()


def build_tracer(settings: Settings, process: str) -> Tracer | None:
    """Where a process sends its spans; None where nobody wants any. Raises Misconfigured."""
    return _load_tracer()(process) if settings.opentelemetry else None


def _load_tracer() -> type[Tracer]:
    try:
        from delivery.telemetry.tracing.otel import Tracer  # noqa: PLC0415  slow to load, and seldom wanted
    except ImportError:
        raise Misconfigured(
            "WAYBILL_OPENTELEMETRY needs its libraries: pip install 'waybill[otel]'"
        ) from None
    return Tracer


# What is made of settings that may turn out not to be usable, each with a word of its own.
SETTINGS_BUILDERS: Final = (
    build_secret_box,
    build_guard,
    build_egress_proxy,
    build_egress_sources,
    build_default_schedule,
    check_tracing_available,
    parse_statsd_address,
)


def build_retention(settings: Settings, ledger: Ledger) -> RetentionService:
    """What takes away what is past its term."""
    return RetentionService(ledger, settings.retention_periods, clock=clock)


def build_stats_rollup(settings: Settings, ledger: Ledger) -> StatsRollup:
    """What counts attempts for figures over time."""
    return StatsRollup(ledger, retention=timedelta(days=settings.retention_attempts_days), clock=clock)


def build_key_settings(settings: Settings) -> ApiKeyConfig:
    """What the operator says of API keys."""
    operator = settings.operator_key
    return ApiKeyConfig(
        operator_key=None if operator is None else operator.get_secret_value(),
        overlap=timedelta(hours=settings.rotation_overlap_hours),
        requests_per_second=settings.key_requests_per_second,
    )


def build_key_rotation(settings: Settings, ledger: Ledger) -> KeyRotationService:
    """What brings sealed values under the newest key. Raises Misconfigured."""
    return KeyRotationService(ledger, build_secret_box(settings), clock=clock)


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """What a worker process holds."""

    ledger: Ledger
    transport: Transport
    dispatcher: Dispatcher
    replay_runner: ReplayRunner
    tracer: Tracer | None

    async def close(self) -> None:
        """Close connections to receivers and to the ledger; send what is left of spans."""
        await self.transport.aclose()
        await self.ledger.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)


async def build_worker_runtime(settings: Settings) -> WorkerRuntime:
    """Wire a worker on the running loop."""
    ledger = open_ledger(settings, "worker")
    way_out = build_transport(settings)
    of_worker = build_tracer(settings, "worker")
    defaults = EndpointDefaults(
        build_default_schedule(settings),
        timeout=timedelta(seconds=settings.attempt_timeout),
        max_timeout=settings.max_attempt_duration,
        health_config=settings.default_health_policy,
        origin=settings.event_origin,
    )
    dispatcher = Dispatcher(
        ledger,
        way_out,
        DestinationCache(ledger, build_secret_box(settings), defaults),
        Recorder(ledger, rng),
        ConcurrencyLimiter(
            max_fresh=settings.worker_concurrency,
            max_total=settings.worker_in_flight_max,
            slow_after=timedelta(seconds=settings.detach_seconds),
        ),
        WorkerConfig(
            worker=f"{socket.gethostname()}:{os.getpid()}",
            lease=settings.lease,
            connect_timeout=timedelta(seconds=settings.connect_timeout),
            max_response_bytes=settings.response_max_bytes,
            log_successes=settings.log_attempts == "all",
        ),
        RuntimeDeps(clock, rng, of_worker),
    )
    advancer = ReplayRunner(ledger, default_max_in_flight=settings.endpoint_in_flight_max)
    return WorkerRuntime(ledger, way_out, dispatcher, advancer, of_worker)


@dataclass(frozen=True, slots=True)
class Services:
    """What the doors open onto: the use cases of one process."""

    settings: Settings
    ledger: Ledger
    intake: Intake
    tenants: TenantService
    api_keys: ApiKeyService
    endpoints: EndpointService
    deliveries: DeliveryService
    replays: ReplayService
    exports: ExportService
    timelines: TimelineService
    erasure: ErasureService
    audit: AuditService
    event_types: EventTypeService
    display_names: DisplayNames
    stats: StatsService
    accounts: AccountService
    ownership: OwnershipService
    amqp_intake: AmqpIntake
    dead_letters: DeadLetterService
    tracer: Tracer | None = None

    async def close(self) -> None:
        """Finish what is written beside requests, and close the connections to the ledger."""
        await self.api_keys.wait_for_background_writes()
        await self.ledger.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)


def build_services(settings: Settings, ledger: Ledger, *, tracer: Tracer | None = None) -> Services:
    """Wire the use cases; with `spans`, events that are accepted are traced. Raises Misconfigured."""
    terms = EndpointConfig(
        guard=build_guard(settings),
        allow_http=settings.allow_http,
        max_timeout=settings.max_attempt_duration,
        overlap=timedelta(hours=settings.rotation_overlap_hours),
        health=settings.default_health_policy,
    )
    limits = IntakeLimits(event_bytes=settings.event_max_bytes, batch_events=settings.batch_max_events)
    box = build_secret_box(settings)
    expected = SchemaCache(ledger, clock=clock)
    accepter = Intake(
        ledger, limits=limits, clock=clock, schema_cache=expected, keep_traces=tracer is not None
    )
    keys = ApiKeyService(ledger, build_key_settings(settings), clock=clock, random_bytes=secrets.token_bytes)
    return Services(
        settings=settings,
        ledger=ledger,
        intake=accepter,
        tenants=TenantService(ledger, settings.retention_periods, clock=clock),
        api_keys=keys,
        endpoints=EndpointService(ledger, box, terms, clock=clock, random_bytes=secrets.token_bytes),
        deliveries=DeliveryService(
            ledger,
            clock=clock,
            default_max_in_flight=settings.endpoint_in_flight_max,
            origin=settings.event_origin,
        ),
        replays=ReplayService(ledger, clock=clock, default_max_in_flight=settings.endpoint_in_flight_max),
        exports=ExportService(ledger, clock=clock, default_max_in_flight=settings.endpoint_in_flight_max),
        timelines=TimelineService(
            ledger,
            max_attempts=len(build_default_schedule(settings)),
            default_max_in_flight=settings.endpoint_in_flight_max,
        ),
        erasure=ErasureService(ledger, clock=clock),
        audit=AuditService(ledger),
        event_types=EventTypeService(ledger, expected, clock=clock),
        display_names=DisplayNames(ledger),
        stats=StatsService(ledger, clock=clock, default_max_in_flight=settings.endpoint_in_flight_max),
        accounts=AccountService(
            ledger,
            PasswordService(),
            session_lifetime=timedelta(hours=settings.session_hours),
            clock=clock,
            random_bytes=secrets.token_bytes,
        ),
        ownership=OwnershipService(ledger),
        amqp_intake=AmqpIntake(ledger, accepter, keys, clock=clock),
        dead_letters=DeadLetterService(ledger, accepter, clock=clock),
        tracer=tracer,
    )
