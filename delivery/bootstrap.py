"""Wiring: the only place where the engine's objects meet. One function for each process, on its own loop.

A part is imported in the function that builds it, here and nowhere else: a process loads what it uses, and a
command starts in a fraction of a second. Types alone are imported at the top.
"""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251  this is the edge
import secrets
import socket
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from delivery.clock import clock
from delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from delivery.config import Settings
    from delivery.destinations.http.transport import Transport
    from delivery.destinations.ssrf_guard import Guard
    from delivery.domain.secret_box import SecretBox, SecretKeys
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.dispatcher import Dispatcher
    from delivery.pipeline.intake import Intake
    from delivery.pipeline.schema_cache import SchemaCache
    from delivery.services.accounts.service import AccountService
    from delivery.services.api_keys.service import ApiKeyService
    from delivery.services.audit import AuditService
    from delivery.services.dead_letters import DeadLetterService
    from delivery.services.deliveries import DeliveryService
    from delivery.services.endpoints.queries import EndpointQueries
    from delivery.services.endpoints.service import EndpointService
    from delivery.services.erasure import ErasureService
    from delivery.services.event_types.service import EventTypeService
    from delivery.services.exports.service import ExportService
    from delivery.services.key_rotation import KeyRotationService
    from delivery.services.lookups import LookupService
    from delivery.services.maintenance import MaintenanceService
    from delivery.services.replays.runner import ReplayRunner
    from delivery.services.replays.service import ReplayService
    from delivery.services.retention import RetentionService
    from delivery.services.stats.rollup import StatsRollup
    from delivery.services.stats.service import StatsService
    from delivery.services.tenants import TenantService
    from delivery.services.timeline.service import TimelineService
    from delivery.sources.amqp import AmqpIntake
    from delivery.telemetry.tracing.otel import Tracer

_SAMPLE_INTERVAL_SECONDS = 5.0


def rng() -> float:
    """A random number in [-1, 1]: the engine's only randomness besides ids and keys."""
    # Not SystemRandom: guessing gains nothing, and its system call releases the GIL every time.
    return random.uniform(-1, 1)  # noqa: S311  it spreads retries


def require_database_url(settings: Settings) -> str:
    """The URL of the ledger. Raises Misconfigured where there is none."""
    if settings.database_url is None:
        raise Misconfigured(
            "WAYBILL_DATABASE_URL is not set, such as postgresql://user:password@host/waybill"
        )
    return settings.database_url.text


def open_ledger(settings: Settings, application: str) -> Ledger:
    """The ledger of WAYBILL_DATABASE_URL. Raises Misconfigured."""
    from delivery.ledger.db.session import Ledger

    url = require_database_url(settings)
    return Ledger(url, pool_size=settings.pool_size, application_name=f"waybill {application}")


def require_secret_keys(settings: Settings) -> SecretKeys:
    """The keys that seal secrets at rest. Raises Misconfigured where there are none."""
    if settings.secret_keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; `waybill secrets generate-key` makes one.")
    return settings.secret_keys


def build_secret_box(settings: Settings) -> SecretBox:
    """The box that seals and opens secrets at rest. Raises Misconfigured."""
    from delivery.domain.secret_box import SecretBox

    return SecretBox.from_keys(require_secret_keys(settings))


def build_guard(settings: Settings) -> Guard:
    """Which addresses and ports may be dialled."""
    from delivery.destinations.ssrf_guard import Guard

    return Guard(settings.allow_networks, settings.allow_ports or None)


def build_transport(settings: Settings) -> Transport:
    """The HTTP transport, behind the guard. Raises Misconfigured."""
    from delivery.destinations.http.transport import Transport

    check_egress_address(settings)
    return Transport(
        guard=build_guard(settings),
        proxy=settings.egress_proxy,
        source_addresses=settings.egress_address,
    )


def check_egress_address(settings: Settings) -> None:
    """Raise Misconfigured unless this machine has the addresses that deliveries should come from."""
    from delivery.destinations.source_address import check_bindable
    from delivery.domain.egress import BadSourceAddress

    try:
        check_bindable(settings.egress_address)
    except BadSourceAddress as error:
        raise Misconfigured(f"WAYBILL_EGRESS_ADDRESS: {error}") from None


def check_tracing_available(settings: Settings) -> None:
    """Raise Misconfigured where traces are wanted and the libraries are not installed."""
    if settings.opentelemetry:
        _load_tracer()


def check_settings(settings: Settings) -> None:
    """Raise Misconfigured for settings that are missing, or that cannot be used on this machine."""
    require_database_url(settings)
    require_secret_keys(settings)
    check_egress_address(settings)
    check_tracing_available(settings)


@asynccontextmanager
async def expose_metrics(
    settings: Settings, ledger: Ledger, *, port: int | None, dispatcher: Dispatcher | None = None
) -> AsyncIterator[None]:
    """Expose this process's metrics while the block runs: on a port, to a statsd. Raises Misconfigured."""
    from delivery.telemetry.metrics.prometheus import MetricsServer
    from delivery.telemetry.metrics.statsd import StatsdSink

    with ExitStack() as exits:
        if port is not None:
            server = MetricsServer(settings.metrics_host, port)
            server.start()
            exits.callback(server.stop)
        if settings.statsd is not None:
            sink = StatsdSink(*settings.statsd)
            sink.start()
            exits.callback(sink.stop)
        sampling = asyncio.create_task(_sample_gauges(ledger, dispatcher))
        try:
            yield
        finally:
            sampling.cancel()


async def _sample_gauges(ledger: Ledger, dispatcher: Dispatcher | None) -> None:
    """Sample the pool and the requests in flight every few seconds."""
    from delivery.telemetry import metrics

    while True:
        used, idle = ledger.pool_usage
        metrics.set_pool_connections(used=used, idle=idle)
        if dispatcher is not None:
            metrics.set_requests_in_flight(dispatcher.in_flight)
        await asyncio.sleep(_SAMPLE_INTERVAL_SECONDS)


def build_tracer(settings: Settings, process: str) -> Tracer | None:
    """The tracer of a process; None unless WAYBILL_OPENTELEMETRY is on. Raises Misconfigured."""
    return _load_tracer()(process) if settings.opentelemetry else None


def _load_tracer() -> type[Tracer]:
    try:
        from delivery.telemetry.tracing.otel import Tracer
    except ImportError:
        raise Misconfigured(
            "WAYBILL_OPENTELEMETRY needs its libraries: pip install 'waybill-engine[otel]'"
        ) from None
    return Tracer


def build_maintenance(settings: Settings, ledger: Ledger) -> MaintenanceService:
    """The maintenance of the ledger, with the ages that the settings allow."""
    from delivery.services.maintenance import MaintenanceService, MaxAges

    max_ages = MaxAges(
        idempotency=settings.idempotency_lifetime,
        delivery=settings.delivery_max_age,
        message=timedelta(days=settings.retention_payload_days),
    )
    return MaintenanceService(ledger, max_ages, clock=clock)


def build_retention(settings: Settings, ledger: Ledger) -> RetentionService:
    """The service that deletes expired data."""
    from delivery.services.retention import RetentionService

    return RetentionService(ledger, settings.retention_periods, clock=clock)


def build_stats_rollup(settings: Settings, ledger: Ledger) -> StatsRollup:
    """The service that rolls attempts up into statistics over time."""
    from delivery.services.stats.rollup import StatsRollup

    return StatsRollup(ledger, retention=timedelta(days=settings.retention_attempts_days), clock=clock)


def build_key_rotation(settings: Settings, ledger: Ledger) -> KeyRotationService:
    """The service that re-encrypts values under the newest key. Raises Misconfigured."""
    from delivery.services.key_rotation import KeyRotationService

    return KeyRotationService(ledger, build_secret_box(settings), clock=clock)


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """The parts of a worker process."""

    ledger: Ledger
    transport: Transport
    dispatcher: Dispatcher
    replay_runner: ReplayRunner
    tracer: Tracer | None

    async def close(self) -> None:
        """Close connections to receivers and to the ledger, and send the last spans."""
        await self.transport.aclose()
        await self.ledger.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)


async def build_worker_runtime(settings: Settings) -> WorkerRuntime:
    """Wire a worker on the running loop."""
    from delivery.pipeline.concurrency import ConcurrencyLimiter
    from delivery.pipeline.destination_cache import DestinationCache, EndpointDefaults
    from delivery.pipeline.dispatcher import Dispatcher, RuntimeDeps, WorkerConfig
    from delivery.pipeline.recorder import Recorder
    from delivery.services.replays.runner import ReplayRunner

    ledger = open_ledger(settings, "worker")
    transport = build_transport(settings)
    tracer = build_tracer(settings, "worker")
    defaults = EndpointDefaults(
        settings.retry_schedule,
        timeout=settings.attempt_timeout,
        max_timeout=settings.max_attempt_duration,
        health_config=settings.default_health_policy,
        origin=settings.event_origin,
    )
    dispatcher = Dispatcher(
        ledger,
        transport,
        DestinationCache(ledger, build_secret_box(settings), defaults),
        Recorder(ledger, rng),
        ConcurrencyLimiter(
            max_fresh=settings.worker_concurrency,
            max_total=settings.worker_in_flight_max,
            slow_after=settings.detach_after,
        ),
        WorkerConfig(
            worker=f"{socket.gethostname()}:{os.getpid()}",
            lease=settings.lease,
            connect_timeout=settings.connect_timeout,
            max_response_bytes=settings.response_max_bytes,
            log_successes=settings.log_attempts == "all",
        ),
        RuntimeDeps(clock, rng, tracer),
    )
    replay_runner = ReplayRunner(ledger, default_max_in_flight=settings.endpoint_in_flight_max)
    return WorkerRuntime(ledger, transport, dispatcher, replay_runner, tracer)


class Services:
    """The use cases of one process, each built when it is first used."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime] = clock,
        tracer: Tracer | None = None,
        has_metrics: bool = True,
    ) -> None:
        """Nothing is dialled. With a tracer, accepted events are traced. Raises Misconfigured.

        Without metrics nothing loads prometheus_client: a command ends before anyone reads them.
        """
        require_secret_keys(settings)
        self.settings = settings
        self.ledger = ledger
        self.clock = clock
        self.tracer = tracer
        self._has_metrics = has_metrics

    @cached_property
    def intake(self) -> Intake:
        from delivery.pipeline.intake import Intake
        from delivery.pipeline.parsing import IntakeLimits

        return Intake(
            self.ledger,
            limits=IntakeLimits(
                event_bytes=self.settings.event_max_bytes, batch_events=self.settings.batch_max_events
            ),
            clock=self.clock,
            schema_cache=self._schema_cache,
            keep_traces=self.tracer is not None,
            count_accepted=self._load_counter() if self._has_metrics else None,
        )

    @cached_property
    def tenants(self) -> TenantService:
        from delivery.services.tenants import TenantService

        return TenantService(self.ledger, self.settings.retention_periods, clock=self.clock)

    @cached_property
    def api_keys(self) -> ApiKeyService:
        from delivery.services.api_keys.service import ApiKeyService
        from delivery.services.api_keys.validation import ApiKeyConfig

        operator_key = self.settings.operator_key
        config = ApiKeyConfig(
            operator_key=None if operator_key is None else operator_key.text,
            overlap=self.settings.rotation_overlap,
            requests_per_second=self.settings.key_requests_per_second,
        )
        return ApiKeyService(self.ledger, config, clock=self.clock, random_bytes=secrets.token_bytes)

    @cached_property
    def endpoints(self) -> EndpointService:
        from delivery.services.endpoints.service import EndpointService
        from delivery.services.endpoints.validation import EndpointConfig

        config = EndpointConfig(
            guard=build_guard(self.settings),
            allow_http=self.settings.allow_http,
            max_timeout=self.settings.max_attempt_duration,
            overlap=self.settings.rotation_overlap,
            health=self.settings.default_health_policy,
        )
        return EndpointService(
            self.ledger,
            build_secret_box(self.settings),
            config,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
        )

    @cached_property
    def endpoint_queries(self) -> EndpointQueries:
        from delivery.services.endpoints.queries import EndpointQueries

        return EndpointQueries(self.ledger, clock=self.clock)

    @cached_property
    def deliveries(self) -> DeliveryService:
        from delivery.services.deliveries import DeliveryService

        return DeliveryService(
            self.ledger,
            clock=self.clock,
            default_max_in_flight=self.settings.endpoint_in_flight_max,
            origin=self.settings.event_origin,
        )

    @cached_property
    def replays(self) -> ReplayService:
        from delivery.services.replays.service import ReplayService

        return ReplayService(
            self.ledger, clock=self.clock, default_max_in_flight=self.settings.endpoint_in_flight_max
        )

    @cached_property
    def exports(self) -> ExportService:
        from delivery.services.exports.service import ExportService

        return ExportService(
            self.ledger, clock=self.clock, default_max_in_flight=self.settings.endpoint_in_flight_max
        )

    @cached_property
    def timelines(self) -> TimelineService:
        from delivery.services.timeline.service import TimelineService

        return TimelineService(
            self.ledger,
            max_attempts=len(self.settings.retry_schedule),
            default_max_in_flight=self.settings.endpoint_in_flight_max,
        )

    @cached_property
    def erasure(self) -> ErasureService:
        from delivery.services.erasure import ErasureService

        return ErasureService(self.ledger, clock=self.clock)

    @cached_property
    def audit(self) -> AuditService:
        from delivery.services.audit import AuditService

        return AuditService(self.ledger)

    @cached_property
    def event_types(self) -> EventTypeService:
        from delivery.services.event_types.service import EventTypeService

        return EventTypeService(self.ledger, self._schema_cache, clock=self.clock)

    @cached_property
    def lookups(self) -> LookupService:
        from delivery.services.lookups import LookupService

        return LookupService(self.ledger)

    @cached_property
    def stats(self) -> StatsService:
        from delivery.services.stats.service import StatsService

        return StatsService(
            self.ledger, clock=self.clock, default_max_in_flight=self.settings.endpoint_in_flight_max
        )

    @cached_property
    def accounts(self) -> AccountService:
        from delivery.services.accounts.passwords import PasswordService
        from delivery.services.accounts.service import AccountService

        return AccountService(
            self.ledger,
            PasswordService(),
            session_lifetime=self.settings.session_lifetime,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
        )

    @cached_property
    def amqp_intake(self) -> AmqpIntake:
        from delivery.sources.amqp import AmqpIntake

        return AmqpIntake(self.ledger, self.intake, self.api_keys, clock=self.clock)

    @cached_property
    def dead_letters(self) -> DeadLetterService:
        from delivery.services.dead_letters import DeadLetterService

        return DeadLetterService(self.ledger, self.intake, clock=self.clock)

    def _load_counter(self) -> Callable[..., None]:
        from delivery.telemetry import metrics

        return metrics.count_accepted

    @cached_property
    def _schema_cache(self) -> SchemaCache:
        from delivery.pipeline.schema_cache import SchemaCache

        return SchemaCache(self.ledger, clock=self.clock)

    async def close(self) -> None:
        """Finish background writes, and close the connections to the ledger."""
        if "api_keys" in vars(self):
            await self.api_keys.wait_for_background_writes()
        await self.ledger.close()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)
