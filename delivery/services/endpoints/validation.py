"""The settings of an endpoint and the checks on them, which raise Invalid for their field. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from delivery.destinations.http.url_policy import BadHeader, check_headers, check_url, find_literal_refusal
from delivery.domain.conditions import MAX_CONDITION_LENGTH, compile_condition
from delivery.domain.endpoint import Signature
from delivery.domain.errors import Invalid
from delivery.domain.event_patterns import MATCH_ALL, MAX_CHANNELS_PER_ENDPOINT, check_channel, check_pattern
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.validation import check_description, check_text, validating_field
from retries.backoff import parse_schedule
from signing import Ed25519Secret, generate_ed25519, generate_hmac, parse_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from delivery.destinations.ssrf_guard import Guard
    from delivery.domain.endpoint import Endpoint
    from retries.health import HealthConfig
    from signing import Secret

MAX_PATTERNS = 100
MAX_DESCRIPTION_LENGTH = 1_000
MIN_TIMEOUT = timedelta(seconds=1)
_SECRET_BYTES = 32
_MAX_SECRET_LENGTH = 200


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to create. `schedule` is in seconds; None means the operator's default.

    `auth` is parsed by `delivery.destinations.http.auth`; `client_certificate` has `certificate` and
    `private_key`; `rate_limit` has `limit` and `per_seconds`; `breaker` any names of `limits.BREAKER_FIELDS`.
    """

    url: str
    description: str = ""
    filter: Sequence[str] = (MATCH_ALL,)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    signature: Signature = Signature.V1
    schedule: Sequence[float] | None = None
    timeout_seconds: float | None = None
    secret: str | None = None
    auth: Mapping[str, Any] | None = None
    client_certificate: Mapping[str, str] | None = None
    format: PayloadFormat = PayloadFormat.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    operational: bool = False
    in_flight_max: int | None = None
    rate_limit: Mapping[str, float] | None = None
    breaker: Mapping[str, float | None] | None = None
    disable_after_hours: float | None = None
    permanent_statuses: Sequence[int] = ()
    channels: Sequence[str] = ()
    condition: str | None = None


class LimitChanges(TypedDict, total=False):
    """The limits to change, in the form of NewEndpoint."""

    in_flight_max: int | None
    rate_limit: Mapping[str, float] | None
    breaker: Mapping[str, float | None] | None
    disable_after_hours: float | None
    permanent_statuses: list[int]


class EndpointChanges(LimitChanges, total=False):
    """The fields to change; fields that are missing stay. In `headers`, None removes a header.

    A new `breaker` replaces the whole former one.
    """

    url: str
    description: str
    filter: list[str]
    channels: list[str]
    condition: str | None
    headers: dict[str, str | None]
    auth: Mapping[str, Any] | None
    client_certificate: Mapping[str, str] | None
    format: PayloadFormat
    payload: PayloadKind
    schedule: list[float] | None
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """The operator's limits for endpoints, and the defaults for endpoints without their own."""

    guard: Guard
    allow_http: bool
    max_timeout: timedelta
    overlap: timedelta
    health: HealthConfig


def validate_url(url: str, config: EndpointConfig) -> str:
    """Check the URL and return its normal form."""
    return validate_target_url(url, config, field_name="url")


def validate_target_url(url: str, config: EndpointConfig, *, field_name: str) -> str:
    """Check a URL that the engine will request and return its normal form."""
    with validating_field(field_name):
        normal = check_url(url, allow_http=config.allow_http)
        if reason := find_literal_refusal(normal, config.guard):
            raise ValueError(f"The URL leads to where nothing is sent ({reason}).")
        return normal


def validate_filter(patterns: Sequence[str]) -> tuple[str, ...]:
    """Check the patterns and drop duplicates."""
    if not 1 <= len(patterns) <= MAX_PATTERNS:
        raise Invalid("filter", f"must have 1 to {MAX_PATTERNS} patterns, not {len(patterns)}")
    for position, pattern in enumerate(patterns):
        with validating_field(f"filter.{position}"):
            check_pattern(pattern)
    return tuple(dict.fromkeys(patterns))


def validate_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Check the channels and drop duplicates."""
    if len(channels) > MAX_CHANNELS_PER_ENDPOINT:
        raise Invalid("channels", f"must be at most {MAX_CHANNELS_PER_ENDPOINT}, not {len(channels)}")
    for position, channel in enumerate(channels):
        with validating_field(f"channels.{position}"):
            check_channel(channel)
    return tuple(dict.fromkeys(channels))


def validate_condition(text: str | None) -> str | None:
    """Check the condition; blank text is no condition."""
    if text is None or not text.strip():
        return None
    with validating_field("condition"):
        return compile_condition(check_text(text.strip(), max_length=MAX_CONDITION_LENGTH)).text


def refuse_operational_channels(endpoint: Endpoint) -> None:
    """Raise Invalid for channels on an operational endpoint: system events have none, so none would match."""
    if endpoint.operational and endpoint.channels:
        raise Invalid("channels", "is for tenants' events: system events have no channels")


def validate_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check the custom headers."""
    try:
        return check_headers(headers)
    except BadHeader as error:
        name = "headers" if error.name is None else f"headers.{error.name}"
        raise Invalid(name, error.why) from error


def merge_headers(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The custom headers after a change; names are case-insensitive."""
    changed = {name.lower() for name in changes}
    unchanged = {name: value for name, value in headers.items() if name.lower() not in changed}
    return validate_headers(unchanged | {name: value for name, value in changes.items() if value is not None})


def validate_schedule(seconds: Sequence[float] | None) -> tuple[timedelta, ...] | None:
    """Check the retry schedule."""
    with validating_field("schedule"):
        return None if seconds is None else parse_schedule(seconds).delays


def validate_timeout(seconds: float | None, config: EndpointConfig) -> timedelta | None:
    """Check the total time of one attempt."""
    if seconds is None:
        return None
    minimum, maximum = MIN_TIMEOUT.total_seconds(), config.max_timeout.total_seconds()
    if not minimum <= seconds <= maximum:
        raise Invalid("timeout_seconds", f"must be from {minimum:g} to {maximum:g} seconds")
    return timedelta(seconds=seconds)


def validate_changes(changes: EndpointChanges, config: EndpointConfig) -> dict[str, Any]:
    """Check the changes and return them by the names of Endpoint's fields.

    Headers, authentication, client certificate and limits are left out: they depend on the former values.
    """
    checked: dict[str, Any] = {}
    if "url" in changes:
        checked["url"] = validate_url(changes["url"], config)
    if "description" in changes:
        checked["description"] = check_description(changes["description"], max_length=MAX_DESCRIPTION_LENGTH)
    if "filter" in changes:
        checked["filter"] = validate_filter(changes["filter"])
    if "format" in changes:
        checked["format"] = PayloadFormat(changes["format"])
    if "payload" in changes:
        checked["payload"] = PayloadKind(changes["payload"])
    if "channels" in changes:
        checked["channels"] = validate_channels(changes["channels"])
    if "condition" in changes:
        checked["condition"] = validate_condition(changes["condition"])
    if "schedule" in changes:
        checked["schedule"] = validate_schedule(changes["schedule"])
    if "timeout_seconds" in changes:
        checked["timeout"] = validate_timeout(changes["timeout_seconds"], config)
    return checked


def parse_or_generate_secret(
    signature: Signature, provided: str | None, random_bytes: Callable[[int], bytes]
) -> Secret:
    """The provided secret or a new one, of the kind that the endpoint's signature scheme needs."""
    if provided is None:
        fresh = random_bytes(_SECRET_BYTES)
        return generate_hmac(fresh) if signature is Signature.V1 else generate_ed25519(fresh)
    with validating_field("secret"):
        secret = parse_secret(check_text(provided, max_length=_MAX_SECRET_LENGTH))
    pair = isinstance(secret, Ed25519Secret)
    if pair is not (signature is Signature.V1A):
        prefix = "whsec_" if signature is Signature.V1 else "whsk_"
        raise Invalid("secret", f"A secret for {signature} signatures begins with {prefix}.")
    return secret
