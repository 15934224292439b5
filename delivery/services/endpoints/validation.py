"""What a person may ask of an endpoint, and the checks on it; each raises Invalid with its field. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from delivery.checks import check_text, field
from delivery.conditions import LONGEST_CONDITION, check_condition
from delivery.errors import Invalid
from delivery.filters import EVERYTHING, MOST_OF_ENDPOINT, check_channel, check_pattern
from delivery.model import Format, PayloadKind, Signature
from delivery.transport import BadHeader, check_headers, check_url, refused_literal
from retries.backoff import parse_schedule
from signing import Ed25519Secret, generate_ed25519, generate_hmac, parse_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from delivery.model import Endpoint
    from delivery.transport import Guard
    from retries.health import HealthTerms
    from signing import Secret

MOST_PATTERNS = 100
LONGEST_DESCRIPTION = 1_000
SHORTEST_TIMEOUT = timedelta(seconds=1)
LONGEST_OVERLAP = timedelta(days=30)
_SECRET_BYTES = 32
_LONGEST_SECRET = 200


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint as it is asked for. `schedule` is in seconds; None, there and below, means the default.

    `auth` is as `delivery.credentials` reads it, `client_certificate` has `certificate` and `private_key`.
    The last ones are its own limits: `rate_limit` has `limit` and `per_seconds`, `breaker` any of the names
    in `delivery.endpoints.limits.BREAKER`.
    """

    url: str
    description: str = ""
    filter: Sequence[str] = (EVERYTHING,)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    signature: Signature = Signature.V1
    schedule: Sequence[float] | None = None
    timeout_seconds: float | None = None
    secret: str | None = None
    auth: Mapping[str, Any] | None = None
    client_certificate: Mapping[str, str] | None = None
    format: Format = Format.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    operational: bool = False
    in_flight_max: int | None = None
    rate_limit: Mapping[str, float] | None = None
    breaker: Mapping[str, float | None] | None = None
    disable_after_hours: float | None = None
    permanent_statuses: Sequence[int] = ()
    channels: Sequence[str] = ()
    condition: str | None = None


class LimitsAsked(TypedDict, total=False):
    """What is asked of an endpoint's limits, in the words of NewEndpoint."""

    in_flight_max: int | None
    rate_limit: Mapping[str, float] | None
    breaker: Mapping[str, float | None] | None
    disable_after_hours: float | None
    permanent_statuses: list[int]


class EndpointChanges(LimitsAsked, total=False):
    """What is to become different; what is not named stays. In `headers`, None takes one away.

    A new `breaker` takes the place of the whole one before.
    """

    url: str
    description: str
    filter: list[str]
    channels: list[str]
    condition: str | None
    headers: dict[str, str | None]
    auth: Mapping[str, Any] | None
    client_certificate: Mapping[str, str] | None
    format: Format
    payload: PayloadKind
    schedule: list[float] | None
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class EndpointTerms:
    """The operator's limits for endpoints, and the defaults of those that say nothing of their own."""

    guard: Guard
    allow_http: bool
    longest_timeout: timedelta
    overlap: timedelta
    health: HealthTerms


def checked_url(url: str, terms: EndpointTerms) -> str:
    """The URL in its normal form."""
    return checked_address(url, terms, field_name="url")


def checked_address(url: str, terms: EndpointTerms, *, field_name: str) -> str:
    """A URL that the engine is to send to, in its normal form."""
    with field(field_name):
        normal = check_url(url, allow_http=terms.allow_http)
        if reason := refused_literal(normal, terms.guard):
            raise ValueError(f"The URL leads to where nothing is sent ({reason}).")
        return normal


def checked_description(text: str) -> str:
    """The description."""
    with field("description"):
        return check_text(text, most=LONGEST_DESCRIPTION)


def checked_filter(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns, each once."""
    if not 1 <= len(patterns) <= MOST_PATTERNS:
        raise Invalid("filter", f"must have 1 to {MOST_PATTERNS} patterns, not {len(patterns)}")
    for position, pattern in enumerate(patterns):
        with field(f"filter.{position}"):
            check_pattern(pattern)
    return tuple(dict.fromkeys(patterns))


def checked_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """The channels, each once."""
    if len(channels) > MOST_OF_ENDPOINT:
        raise Invalid("channels", f"must be at most {MOST_OF_ENDPOINT}, not {len(channels)}")
    for position, channel in enumerate(channels):
        with field(f"channels.{position}"):
            check_channel(channel)
    return tuple(dict.fromkeys(channels))


def checked_condition(text: str | None) -> str | None:
    """The condition; what is blank is none."""
    if text is None or not text.strip():
        return None
    with field("condition"):
        return check_condition(check_text(text.strip(), most=LONGEST_CONDITION)).text


def refuse_channels_of_operational(endpoint: Endpoint) -> None:
    """Raise Invalid where channels would keep everything out: the engine's own events have none."""
    if endpoint.operational and endpoint.channels:
        raise Invalid("channels", "is for tenants' events: what the engine has to say has no channels")


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The custom headers."""
    try:
        return check_headers(headers)
    except BadHeader as error:
        name = "headers" if error.name is None else f"headers.{error.name}"
        raise Invalid(name, error.why) from error


def merged_headers(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The custom headers after a change; a name is the same name in any case."""
    changed = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in changed}
    return checked_headers(kept | {name: value for name, value in changes.items() if value is not None})


def checked_schedule(seconds: Sequence[float] | None) -> tuple[timedelta, ...] | None:
    """The retry schedule."""
    with field("schedule"):
        return None if seconds is None else parse_schedule(seconds).delays


def checked_timeout(seconds: float | None, terms: EndpointTerms) -> timedelta | None:
    """The time one attempt may take in all."""
    if seconds is None:
        return None
    least, most = SHORTEST_TIMEOUT.total_seconds(), terms.longest_timeout.total_seconds()
    if not least <= seconds <= most:
        raise Invalid("timeout_seconds", f"must be from {least:g} to {most:g} seconds")
    return timedelta(seconds=seconds)


def checked_overlap(overlap: timedelta | None, terms: EndpointTerms) -> timedelta:
    """How long older secrets go on signing."""
    if overlap is None:
        return terms.overlap
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Invalid("overlap_hours", f"must be from 0 to {LONGEST_OVERLAP.days * 24} hours")
    return overlap


def checked_changes(changes: EndpointChanges, terms: EndpointTerms) -> dict[str, Any]:
    """The changes by the names of an Endpoint's fields.

    Without headers, authentication, client certificate and limits, which need what was there before.
    """
    checked: dict[str, Any] = {}
    if "url" in changes:
        checked["url"] = checked_url(changes["url"], terms)
    if "description" in changes:
        checked["description"] = checked_description(changes["description"])
    if "filter" in changes:
        checked["filter"] = checked_filter(changes["filter"])
    if "format" in changes:
        checked["format"] = Format(changes["format"])
    if "payload" in changes:
        checked["payload"] = PayloadKind(changes["payload"])
    if "channels" in changes:
        checked["channels"] = checked_channels(changes["channels"])
    if "condition" in changes:
        checked["condition"] = checked_condition(changes["condition"])
    if "schedule" in changes:
        checked["schedule"] = checked_schedule(changes["schedule"])
    if "timeout_seconds" in changes:
        checked["timeout"] = checked_timeout(changes["timeout_seconds"], terms)
    return checked


def secret_for(signature: Signature, given: str | None, random_bytes: Callable[[int], bytes]) -> Secret:
    """The secret that was brought, or a fresh one, of the kind that the endpoint's signatures need."""
    if given is None:
        fresh = random_bytes(_SECRET_BYTES)
        return generate_hmac(fresh) if signature is Signature.V1 else generate_ed25519(fresh)
    with field("secret"):
        secret = parse_secret(check_text(given, most=_LONGEST_SECRET))
    pair = isinstance(secret, Ed25519Secret)
    if pair is not (signature is Signature.V1A):
        prefix = "whsec_" if signature is Signature.V1 else "whsk_"
        raise Invalid("secret", f"A secret for {signature} signatures begins with {prefix}.")
    return secret
