"""Settings: the environment, read once at start into typed, frozen values. README's table is made from this file."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from delivery.domain.database_url import normalise_database_url
from delivery.domain.egress import ANY_SOURCE_ADDRESS, Proxy, SourceAddresses
from delivery.domain.errors import Misconfigured
from delivery.domain.formats import EventOrigin
from delivery.domain.networks import AllowList, Network, parse_host_port, parse_networks, parse_ports
from delivery.domain.retention import CONTAINED_IN, RetainedData, RetentionPeriods
from delivery.domain.secret_box import SecretKeys
from retries.backoff import DEFAULT_SCHEDULE, Schedule, parse_schedule
from retries.breaker import BreakerConfig
from retries.health import HealthConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Finite: what is longer than an hour is a mistake, and infinity no timedelta.
Seconds = Annotated[float, Field(gt=0, le=3600)]
Days = Annotated[int, Field(ge=1, le=36_500)]

ENV_PREFIX = "WAYBILL_"
MIN_OPERATOR_KEY_LENGTH = 20
# RFC 3986: with a scheme, or from a slash on, or a first segment that has no colon.
_URI_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_CLOUDEVENTS_SOURCE = re.compile(rf"(?:[A-Za-z][A-Za-z0-9+.-]*:(?=.)|(?=/)|(?=[^:/]+(?:/|$))){_URI_CHAR}+")
_PYDANTIC_PREFIX = "Value error, "  # what it puts before a sentence of ours


def _parsed(parse: Callable[[str], object]) -> PlainValidator:
    """Text is parsed; a value that has been parsed, or None, stays as it is."""

    def validate(value: Any) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return parse(text) if isinstance(text, str) else text

    return PlainValidator(validate)


def _parse_schedule(text: str) -> Schedule:
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError("must be seconds, comma separated, such as 0,5,300") from None
    return parse_schedule(seconds)


class Settings(BaseModel):
    """Every setting of the engine. Each is an environment variable: `WAYBILL_` and its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL ≥ 15, e.g. `postgresql://waybill:…@db/waybill`. None: the embedded one."
    )
    amqp_url: SecretStr | None = Field(None, description="RabbitMQ ≥ 3.10, e.g. `amqp://user:…@mq/%2F`.")
    queue_type: Literal["classic", "quorum"] = Field("classic", description="Type of the delivery queues.")
    queue_name: str = Field(
        "waybill", description="Prefix of the queues' names.", pattern=r"^[a-zA-Z0-9_.-]+$", max_length=200
    )
    ingest_prefetch: int = Field(
        500, ge=1, le=2_000, description="Messages that one `ingest` process holds unacknowledged, at most."
    )
    data_dir: Path | None = Field(None, description="Where the embedded default keeps its files: `.waybill`.")

    secret_keys: Annotated[SecretKeys | None, _parsed(SecretKeys.parse)] = Field(
        None,
        description="Keys that seal secrets at rest: base64 of 32 bytes each, comma separated, newest first.",
    )
    operator_key: SecretStr | None = Field(
        None,
        description="The operator's API key: may do everything, for every tenant. At least 20 characters.",
    )

    key_requests_per_second: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests a second that one API key may make in each `web` process. 0: no limit.",
    )

    host: str = Field("127.0.0.1", description="Address that `web` listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port that `web` listens on.")
    public_url: str | None = Field(
        None,
        description="Where people reach `web`, e.g. `https://waybill.example`: portal links begin so, and "
        "those of thin events.",
    )
    cloudevents_source: str = Field(
        "/waybill",
        max_length=200,
        description="How `source` of CloudEvents begins, e.g. `https://shop.example`; the tenant follows.",
    )
    session_hours: float = Field(
        12, gt=0, le=24 * 31, description="How long somebody who has signed in at the console stays so."
    )
    pool_size: int = Field(
        8,
        ge=1,
        le=200,
        description="Database connections of one process, at most, besides two for single statements.",
    )

    allow_http: bool = Field(default=False, description="Whether endpoints may use `http://`.")
    allow_networks: Annotated[AllowList, _parsed(AllowList.parse)] = Field(
        AllowList(),
        description="Networks that may be dialled though private or reserved: CIDRs, comma separated.",
    )
    allow_ports: Annotated[frozenset[int], _parsed(parse_ports)] = Field(
        frozenset(), description="Ports that may be dialled, comma separated. Empty: any."
    )

    egress_proxy: Annotated[Proxy | None, _parsed(Proxy.parse)] = Field(
        None,
        description="Proxy that deliveries go through: `http://user:password@proxy:3128`, `https://…`, "
        "`socks5://…`, `socks5h://…` (it resolves names itself).",
    )
    egress_address: Annotated[SourceAddresses, _parsed(SourceAddresses.parse)] = Field(
        ANY_SOURCE_ADDRESS,
        description="Address of this machine that deliveries come from: an IPv4 one, an IPv6 one, or both, "
        "comma separated. None: the system chooses.",
    )

    metrics_host: str = Field("127.0.0.1", description="Address on which `/metrics` has ports of its own.")
    web_metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="Port for `web`'s metrics without a key; on WAYBILL_PORT they want the operator's.",
    )
    relay_metrics_port: int | None = Field(None, ge=1, le=65_535, description="Port for `relay`'s metrics.")
    worker_metrics_port: int | None = Field(
        None, ge=1, le=65_535, description="Port for the metrics of all processes of a `worker`."
    )
    ingest_metrics_port: int | None = Field(None, ge=1, le=65_535, description="Port for `ingest`'s metrics.")
    statsd: Annotated[tuple[str, int] | None, _parsed(parse_host_port)] = Field(
        None, description="`host:port` of a statsd to which every process sends its metrics too."
    )

    event_max_bytes: int = Field(262_144, ge=1, description="Largest event, in bytes of its JSON.")
    batch_max_events: int = Field(1_000, ge=1, le=10_000, description="Most events in one batch.")
    idempotency_hours: float = Field(
        24, gt=0, le=24 * 365, description="How long an idempotency key is remembered."
    )
    rotation_overlap_hours: float = Field(
        24, ge=0, le=24 * 30, description="How long a rotated secret or API key goes on beside the new one."
    )

    connect_timeout: Seconds = Field(5, le=30, description="Seconds to connect (name, TCP, TLS).")
    attempt_timeout: Seconds = Field(
        15, le=30, description="Seconds for one attempt in all; an endpoint may differ."
    )
    response_max_bytes: int = Field(
        65_536, ge=0, le=1 << 20, description="Bytes of a response that are kept."
    )
    retry_schedule: Annotated[Schedule, _parsed(_parse_schedule)] = Field(
        DEFAULT_SCHEDULE,
        description="Seconds before each attempt, comma separated. None: 0, 5, 300, … 24 h (10 attempts).",
    )

    endpoint_in_flight_max: int = Field(
        50, ge=1, le=10_000, description="Deliveries of one endpoint in flight, over all workers."
    )
    breaker_consecutive: int = Field(
        10, ge=1, le=100_000, description="Failures in a row that open an endpoint's circuit breaker."
    )
    breaker_ratio: float = Field(
        0.5, gt=0, le=1, description="Share of failures within the window that opens it, from 0 to 1."
    )
    breaker_minimum: int = Field(
        20, ge=1, le=100_000, description="Attempts within the window before the share counts."
    )
    breaker_window_seconds: Seconds = Field(60, ge=1, description="The window of the share.")
    breaker_cool_down_seconds: Seconds = Field(
        30,
        ge=0.1,
        description="How long a breaker is open before its first probe; doubles with each that fails.",
    )
    breaker_longest_cool_down_seconds: Seconds = Field(600, ge=0.1, description="The longest cool-down.")
    disable_after_days: float = Field(
        5, ge=0.01, le=365, description="An endpoint that has only failed for so long is disabled."
    )
    delivery_max_age_days: float = Field(
        30, ge=0.01, le=3650, description="Age at which a delivery that is still owed ends as `expired`."
    )

    lease_seconds: Seconds = Field(
        45,
        ge=1,
        description="How long a worker may hold a claim, in seconds; after that a dead one's is rescued.",
    )
    queue_lease_seconds: Seconds = Field(
        20, description="How long a claim may wait in the queue before the relay takes it back."
    )
    replay_share: float = Field(
        0.2, gt=0, le=1, description="Share of the queue that replays get at most while live work waits."
    )
    retention_payload_days: Days = Field(90, description="How long the bodies of events are kept.")
    retention_attempts_days: Days = Field(90, description="How long attempts are kept.")
    retention_deliveries_days: Days = Field(
        90, description="How long deliveries that have ended, and replay jobs, are kept."
    )
    retention_events_days: Days = Field(90, description="How long events are kept.")
    retention_journal_days: Days = Field(400, description="How long the journal, and so the audit, is kept.")
    trusted_proxies: Annotated[tuple[Network, ...], _parsed(parse_networks)] = Field(
        (),
        description="Proxies whose `X-Forwarded-For` tells a caller's address: CIDRs, comma separated.",
    )
    window_seconds: Seconds = Field(0.25, description="How much work, in time, the relay keeps in the queue.")
    poll_seconds: Seconds = Field(1.0, description="How often the relay looks without having been notified.")
    worker_processes: int = Field(2, ge=1, description="Processes that `waybill serve worker` starts.")
    worker_threads: int = Field(
        4, ge=1, description="Claims that one worker process starts at the same time."
    )
    worker_concurrency: int = Field(256, ge=1, description="Fresh requests in flight in one worker process.")
    worker_in_flight_max: int = Field(
        2_000, ge=1, description="Requests in flight in one worker process, slow ones too."
    )
    detach_seconds: Seconds = Field(
        2, description="After how long a request counts as slow and makes room for others."
    )
    drain_seconds: Seconds = Field(
        20, le=25, description="How long a stopping worker waits for what is in flight."
    )

    opentelemetry: bool = Field(
        default=False,
        description="Whether to send traces, from POST to receiver. Needs extra `otel`; `OTEL_…` say where.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line that is logged."
    )
    log_attempts: Literal["failed", "all"] = Field(
        "failed", description="Which attempts have a line at level `info`; the others have one at `debug`."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines are written.")

    @field_validator("breaker_longest_cool_down_seconds")
    @classmethod
    def _check_longest_cool_down(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("breaker_cool_down_seconds", 0):
            raise ValueError("must not be shorter than WAYBILL_BREAKER_COOL_DOWN_SECONDS")
        return value

    @field_validator("retention_deliveries_days", "retention_events_days")
    @classmethod
    def _check_retention_order(cls, value: int, info: ValidationInfo) -> int:
        for part, whole in CONTAINED_IN.items():
            if info.field_name == f"retention_{whole}_days" and value < info.data.get(
                f"retention_{part}_days", 0
            ):
                raise ValueError(f"must not be shorter than WAYBILL_RETENTION_{part.upper()}_DAYS")
        return value

    @field_validator("operator_key")
    @classmethod
    def _check_operator_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_OPERATOR_KEY_LENGTH:
            raise ValueError(f"must have at least {MIN_OPERATOR_KEY_LENGTH} characters")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            normalise_database_url(value.get_secret_value())
        return value

    @field_validator("amqp_url")
    @classmethod
    def _check_amqp_url(cls, value: SecretStr | None) -> SecretStr | None:
        # pika takes any scheme, and dials localhost for a URL without a host.
        if value is not None and not _is_amqp_url(value.get_secret_value()):
            raise ValueError("must be of the form amqp://user:password@host:5672/%2F, or begin with amqps://")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_http_url(value):
            raise ValueError("must be of the form https://waybill.example, with no query and no fragment")
        return None if value is None else value.rstrip("/")

    @field_validator("cloudevents_source")
    @classmethod
    def _check_cloudevents_source(cls, value: str) -> str:
        # A tenant is added as one more segment, which a query or a fragment would swallow.
        if _CLOUDEVENTS_SOURCE.fullmatch(value) is None:
            raise ValueError(
                "must be a URI or its path, such as https://shop.example or /shop, with no ? or #"
            )
        return value

    @property
    def base_url(self) -> str:
        """Where `web` is reached, as far as the settings tell."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def event_origin(self) -> EventOrigin:
        """What events say of where they come from."""
        return EventOrigin(self.cloudevents_source, self.public_url)

    @property
    def default_health_policy(self) -> HealthConfig:
        """By what endpoints are judged that say nothing of their own."""
        breaker = BreakerConfig(
            consecutive=self.breaker_consecutive,
            ratio=self.breaker_ratio,
            minimum=self.breaker_minimum,
            window=timedelta(seconds=self.breaker_window_seconds),
            cool_down=timedelta(seconds=self.breaker_cool_down_seconds),
            longest_cool_down=timedelta(seconds=self.breaker_longest_cool_down_seconds),
        )
        return HealthConfig(
            breaker,
            max_in_flight=self.endpoint_in_flight_max,
            disable_after=timedelta(days=self.disable_after_days),
        )

    @property
    def retention_periods(self) -> RetentionPeriods:
        """For how many days everything is kept."""
        return RetentionPeriods(
            **{content: getattr(self, f"retention_{content}_days") for content in RetainedData}
        )

    @property
    def lease(self) -> timedelta:
        """How long a started claim is its worker's."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def queue_lease(self) -> timedelta:
        """How long a claim may wait to be started."""
        return timedelta(seconds=self.queue_lease_seconds)

    @property
    def max_attempt_duration(self) -> timedelta:
        """No attempt lasts longer, whatever its endpoint asks for: the lease must outlast it."""
        return timedelta(seconds=min(30.0, self.lease_seconds * 0.8))


def read_environment() -> dict[str, str]:
    """The settings that the environment holds, as text by name; an empty variable counts as none."""
    variables = {name.upper(): text for name, text in os.environ.items()}
    return {
        name: text for name in Settings.model_fields if (text := variables.get(ENV_PREFIX + name.upper()))
    }


def read_settings(defaults: Mapping[str, str] | None = None) -> Settings:
    """Read the environment, and `defaults` for what it leaves out.

    Raises Misconfigured with one line per wrong setting.
    """
    try:
        return Settings.model_validate({**(defaults or {}), **read_environment()})
    except ValidationError as error:
        # One line for each variable, however much of it is wrong.
        faults = {str(fault["loc"][0]): fault["msg"] for fault in reversed(error.errors())}
        lines = [
            f"{ENV_PREFIX}{name.upper()}: {why.removeprefix(_PYDANTIC_PREFIX)}"
            for name, why in faults.items()
        ]
        raise Misconfigured("\n".join(reversed(lines))) from None


def _is_amqp_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and not (parts.query or parts.fragment or parts.username or any(map(str.isspace, url)))
