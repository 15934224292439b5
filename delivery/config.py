"""Settings: the environment, parsed once at start into frozen, typed values. README's table comes from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from delivery.domain.egress import ANY_SOURCE_ADDRESS, Proxy, SourceAddresses
from delivery.domain.errors import Misconfigured
from delivery.domain.formats import EventOrigin
from delivery.domain.networks import MAX_PORT, AllowList, parse_host_port, parse_networks, parse_ports
from delivery.domain.retention import CONTAINED_IN, RetainedData, RetentionPeriods
from delivery.domain.secret_box import SecretKeys
from delivery.domain.setting_parsers import (
    DAY,
    HOUR,
    SECOND,
    SecretText,
    choice,
    duration,
    integer,
    matching_text,
    number,
    parse_amqp_url,
    parse_cloudevents_source,
    parse_database_url,
    parse_delays,
    parse_flag,
    parse_operator_key,
    parse_public_url,
)
from retries.backoff import DEFAULT_SCHEDULE
from retries.breaker import BreakerConfig
from retries.health import HealthConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import timedelta

    from delivery.domain.networks import Network
    from retries.backoff import Schedule

T = TypeVar("T")

ENV_PREFIX = "WAYBILL_"
_MAX_ATTEMPT_SECONDS = 30
_MAX_SECONDS = 3600  # longer than an hour is a mistake
_MAX_DAYS = 36_500


def setting(
    default: str | float | None,
    parse: Callable[[str], T],
    description: str,
    *,
    name: str | None = None,
    unset: Any = None,
) -> T:
    """A setting: its default as it would be written, how its text is read, and its description in README.

    `name`: where the variable is not named after the field; `unset`: the value when nothing is written.
    """
    value = unset if default is None else parse(str(default))
    metadata = {"default": default, "parse": parse, "description": description, "name": name}
    result: T = field(default=value, metadata=metadata)
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """Every setting of the engine. Each is an environment variable: `WAYBILL_` and its name in capitals."""

    database_url: SecretText | None = setting(
        None,
        parse_database_url,
        "PostgreSQL ≥ 15, e.g. `postgresql://waybill:…@db/waybill`. None: the embedded one.",
    )
    amqp_url: SecretText | None = setting(
        None, parse_amqp_url, "RabbitMQ ≥ 3.10, e.g. `amqp://user:…@mq/%2F`."
    )
    queue_type: str = setting("classic", choice("classic", "quorum"), "Type of the delivery queues.")
    queue_name: str = setting(
        "waybill",
        matching_text("[a-zA-Z0-9_.-]{1,200}", "1 to 200 letters, digits, dots, dashes and underscores"),
        "Prefix of the queues' names.",
    )
    ingest_prefetch: int = setting(
        500, integer(1, 2_000), "Most unacknowledged messages of one `ingest` process."
    )
    data_dir: Path | None = setting(None, Path, "Where the embedded default keeps its files: `.waybill`.")

    secret_keys: SecretKeys | None = setting(
        None,
        SecretKeys.parse,
        "Keys that encrypt secrets at rest: base64 of 32 bytes each, comma separated, newest first.",
    )
    operator_key: SecretText | None = setting(
        None,
        parse_operator_key,
        "The operator's API key: may do everything, for every tenant. At least 20 characters.",
    )
    key_requests_per_second: int = setting(
        0,
        integer(0, 1_000_000),
        "Requests per second of one API key in each `web` process. 0: no limit.",
    )

    host: str = setting("127.0.0.1", str, "Address that `web` listens on.")
    port: int = setting(8080, integer(0, MAX_PORT), "Port that `web` listens on.")
    public_url: str | None = setting(
        None,
        parse_public_url,
        "URL at which users reach `web`, e.g. `https://waybill.example`: for portal links and the links "
        "of thin events.",
    )
    cloudevents_source: str = setting(
        "/waybill",
        parse_cloudevents_source,
        "Start of the `source` of CloudEvents, e.g. `https://shop.example`; the tenant's id follows.",
    )
    session_lifetime: timedelta = setting(
        12,
        duration(HOUR, 0, 24 * 31, above=True),
        "How long a session at the console lasts.",
        name="session_hours",
    )
    pool_size: int = setting(
        8,
        integer(1, 200),
        "Most database connections of one process, besides two for single statements.",
    )

    allow_http: bool = setting(
        default=False, parse=parse_flag, description="Whether endpoints may use `http://`."
    )
    allow_networks: AllowList = setting(
        "",
        AllowList.parse,
        "Private or reserved networks that deliveries may reach: CIDRs, comma separated.",
    )
    allow_ports: frozenset[int] = setting(
        "", parse_ports, "Ports that deliveries may reach, comma separated. Empty: any."
    )

    egress_proxy: Proxy | None = setting(
        None,
        Proxy.parse,
        "Proxy that deliveries go through: `http://user:password@proxy:3128`, `https://…`, "
        "`socks5://…`, `socks5h://…` (it resolves names itself).",
    )
    egress_address: SourceAddresses = setting(
        None,
        SourceAddresses.parse,
        "Source address of deliveries, on this machine: an IPv4 address, an IPv6 address, or both, "
        "comma separated. None: the system chooses.",
        unset=ANY_SOURCE_ADDRESS,
    )

    metrics_host: str = setting("127.0.0.1", str, "Address that the metrics ports listen on.")
    web_metrics_port: int | None = setting(
        None,
        integer(1, MAX_PORT),
        "Port for `web`'s metrics without a key; on WAYBILL_PORT they need the operator's key.",
    )
    relay_metrics_port: int | None = setting(None, integer(1, MAX_PORT), "Port for `relay`'s metrics.")
    worker_metrics_port: int | None = setting(
        None, integer(1, MAX_PORT), "Port for the metrics of all processes of a `worker`."
    )
    ingest_metrics_port: int | None = setting(None, integer(1, MAX_PORT), "Port for `ingest`'s metrics.")
    statsd: tuple[str, int] | None = setting(
        None, parse_host_port, "`host:port` of a statsd that every process sends its metrics to."
    )

    event_max_bytes: int = setting(262_144, integer(1), "Largest event, in bytes of its JSON.")
    batch_max_events: int = setting(1_000, integer(1, 10_000), "Most events in one batch.")
    idempotency_lifetime: timedelta = setting(
        24,
        duration(HOUR, 0, 24 * 365, above=True),
        "How long an idempotency key is remembered.",
        name="idempotency_hours",
    )
    rotation_overlap: timedelta = setting(
        24,
        duration(HOUR, 0, 24 * 30),
        "How long a rotated secret or API key remains valid beside the new one.",
        name="rotation_overlap_hours",
    )

    connect_timeout: timedelta = setting(
        5, duration(SECOND, 0, _MAX_ATTEMPT_SECONDS, above=True), "Seconds to connect (name, TCP, TLS)."
    )
    attempt_timeout: timedelta = setting(
        15,
        duration(SECOND, 0, _MAX_ATTEMPT_SECONDS, above=True),
        "Seconds for one attempt in total; an endpoint may have its own limit.",
    )
    response_max_bytes: int = setting(65_536, integer(0, 1 << 20), "Bytes of a response that are stored.")
    retry_schedule: Schedule = setting(
        None,
        parse_delays,
        "Seconds before each attempt, comma separated. None: 0, 5, 300, … 24 h (10 attempts).",
        unset=DEFAULT_SCHEDULE,
    )

    endpoint_in_flight_max: int = setting(
        50, integer(1, 10_000), "Most deliveries of one endpoint in flight, over all workers."
    )
    breaker_consecutive: int = setting(
        10, integer(1, 100_000), "Consecutive failures that open an endpoint's circuit breaker."
    )
    breaker_ratio: float = setting(
        0.5, number(0, 1, above=True), "Share of failures in the window that opens it, from 0 to 1."
    )
    breaker_minimum: int = setting(
        20, integer(1, 100_000), "Fewest attempts in the window for the share to count."
    )
    breaker_window: timedelta = setting(
        60, duration(SECOND, 1, _MAX_SECONDS), "Length of that window.", name="breaker_window_seconds"
    )
    breaker_cool_down: timedelta = setting(
        30,
        duration(SECOND, 0.1, _MAX_SECONDS),
        "How long a breaker is open before its first probe; doubles with each failed probe.",
        name="breaker_cool_down_seconds",
    )
    breaker_longest_cool_down: timedelta = setting(
        600,
        duration(SECOND, 0.1, _MAX_SECONDS),
        "The longest cool-down.",
        name="breaker_longest_cool_down_seconds",
    )
    disable_after: timedelta = setting(
        5,
        duration(DAY, 0.01, 365),
        "After how many days of failures only an endpoint is disabled.",
        name="disable_after_days",
    )
    delivery_max_age: timedelta = setting(
        30,
        duration(DAY, 0.01, 3650),
        "Age at which a pending delivery ends as `expired`.",
        name="delivery_max_age_days",
    )

    lease: timedelta = setting(
        45,
        duration(SECOND, 1, _MAX_SECONDS),
        "How long a worker may hold a claim; after that the relay takes it back.",
        name="lease_seconds",
    )
    queue_lease: timedelta = setting(
        20,
        duration(SECOND, 0, _MAX_SECONDS, above=True),
        "How long a claim may wait in the queue before the relay takes it back.",
        name="queue_lease_seconds",
    )
    replay_share: float = setting(
        0.2, number(0, 1, above=True), "Largest share of the queue for replays while live deliveries wait."
    )
    retention_payload_days: int = setting(90, integer(1, _MAX_DAYS), "How long bodies of events are kept.")
    retention_attempts_days: int = setting(90, integer(1, _MAX_DAYS), "How long attempts are kept.")
    retention_deliveries_days: int = setting(
        90, integer(1, _MAX_DAYS), "How long finished deliveries and replays are kept."
    )
    retention_events_days: int = setting(90, integer(1, _MAX_DAYS), "How long events are kept.")
    retention_journal_days: int = setting(
        400, integer(1, _MAX_DAYS), "How long the journal, with the audit log, is kept."
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "",
        parse_networks,
        "Proxies whose `X-Forwarded-For` gives the client's address: CIDRs, comma separated.",
    )
    window: timedelta = setting(
        0.25,
        duration(SECOND, 0, _MAX_SECONDS, above=True),
        "How many seconds of work the relay keeps in the queue.",
        name="window_seconds",
    )
    poll_interval: timedelta = setting(
        1.0,
        duration(SECOND, 0, _MAX_SECONDS, above=True),
        "How often the relay polls without a notification.",
        name="poll_seconds",
    )
    worker_processes: int = setting(2, integer(1), "Processes that `waybill serve worker` starts.")
    worker_threads: int = setting(4, integer(1), "Claims that one worker process starts concurrently.")
    worker_concurrency: int = setting(256, integer(1), "Most fresh requests in flight in one worker process.")
    worker_in_flight_max: int = setting(
        2_000, integer(1), "Most requests in flight in one worker process, with slow ones."
    )
    detach_after: timedelta = setting(
        2,
        duration(SECOND, 0, _MAX_SECONDS, above=True),
        "After how many seconds a request counts as slow and frees its slot.",
        name="detach_seconds",
    )
    drain_timeout: timedelta = setting(
        20,
        duration(SECOND, 0, 25, above=True),
        "How long a stopping worker waits for requests in flight.",
        name="drain_seconds",
    )

    opentelemetry: bool = setting(
        default=False,
        parse=parse_flag,
        description="Whether to send traces, from POST to receiver. Needs the extra `otel` and `OTEL_…`.",
    )

    log_level: str = setting(
        "info", choice("debug", "info", "warning", "error"), "Least severe level that is logged."
    )
    log_attempts: str = setting(
        "failed",
        choice("failed", "all"),
        "Which attempts are logged at level `info`; the others at `debug`.",
    )
    log_format: str = setting("console", choice("console", "json"), "Format of log lines.")

    @property
    def base_url(self) -> str:
        """The URL of `web`, as far as the settings say."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def event_origin(self) -> EventOrigin:
        """The source and the URL that events contain."""
        return EventOrigin(self.cloudevents_source, self.public_url)

    @property
    def default_health_policy(self) -> HealthConfig:
        """The health policy of endpoints that have none of their own."""
        breaker = BreakerConfig(
            consecutive=self.breaker_consecutive,
            ratio=self.breaker_ratio,
            minimum=self.breaker_minimum,
            window=self.breaker_window,
            cool_down=self.breaker_cool_down,
            longest_cool_down=self.breaker_longest_cool_down,
        )
        return HealthConfig(
            breaker, max_in_flight=self.endpoint_in_flight_max, disable_after=self.disable_after
        )

    @property
    def retention_periods(self) -> RetentionPeriods:
        """For how many days each kind of data is kept."""
        return RetentionPeriods(
            **{content: getattr(self, f"retention_{content}_days") for content in RetainedData}
        )

    @property
    def max_attempt_duration(self) -> timedelta:
        """The limit of every attempt, whatever its endpoint asks for: the lease must outlast it."""
        return min(_MAX_ATTEMPT_SECONDS * SECOND, self.lease * 0.8)


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A setting: its name, its default as text, its parser and its description in README."""

    name: str
    attribute: str
    default: str
    parse: Callable[[str], object]
    description: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENV_PREFIX + self.name.upper()


def list_settings() -> Iterator[SettingInfo]:
    """Every setting, in README's order."""
    for setting_field in fields(Settings):
        known = setting_field.metadata
        default = "" if known["default"] is None else str(known["default"]).lower()
        name = known["name"] or setting_field.name
        yield SettingInfo(name, setting_field.name, default, known["parse"], known["description"])


def read_environment() -> dict[str, str]:
    """The settings that the environment holds, as text by name; an empty variable counts as none."""
    variables = {name.upper(): text for name, text in os.environ.items() if text}
    return {info.name: variables[info.variable] for info in list_settings() if info.variable in variables}


def read_settings(defaults: Mapping[str, str] | None = None) -> Settings:
    """Read the environment, and `defaults` for what it leaves out. Raises Misconfigured."""
    return parse_settings({**(defaults or {}), **read_environment()})


def parse_settings(texts: Mapping[str, object]) -> Settings:
    """Parse settings by name; other names are left aside. What is not text is read as it would be written.

    Raises Misconfigured with one line per wrong setting.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for info in list_settings():
        text = texts.get(info.name)
        if text is None:
            continue
        try:
            values[info.attribute] = info.parse(str(text))
        except ValueError as error:
            faults.append(f"{info.variable}: {error}")
    settings = Settings(**values)
    faults = faults or list(_find_contradictions(settings))
    if faults:
        raise Misconfigured("\n".join(faults))
    return settings


def _find_contradictions(settings: Settings) -> Iterator[str]:
    if settings.breaker_longest_cool_down < settings.breaker_cool_down:
        yield (
            "WAYBILL_BREAKER_LONGEST_COOL_DOWN_SECONDS: must not be shorter than "
            "WAYBILL_BREAKER_COOL_DOWN_SECONDS"
        )
    periods = settings.retention_periods
    for part, whole in CONTAINED_IN.items():
        if periods.get_days(whole) < periods.get_days(part):
            yield (
                f"WAYBILL_RETENTION_{whole.upper()}_DAYS: must not be shorter than "
                f"WAYBILL_RETENTION_{part.upper()}_DAYS"
            )
