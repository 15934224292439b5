"""Print an endpoint and its secrets as text."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.cli.output.table import print_facts, print_note, print_text
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.services.endpoints.limits import serialize_limits
from delivery.services.presentation import (
    describe_auth,
    describe_certificate,
    describe_format,
    format_relative_time,
    format_schedule,
)
from delivery.services.sentences import format_actor, format_sentence, format_state_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.endpoint import Endpoint, EndpointLimits, SealedSecret
    from delivery.services.endpoints.sealing import CreatedSecret

_HOUR: Final = timedelta(hours=1)


def print_endpoint(endpoint: Endpoint, secrets: Sequence[SealedSecret], *, now: datetime) -> None:
    """Print an endpoint's facts, with its secrets by key id."""
    schedule, timeout = endpoint.schedule, endpoint.timeout
    print_facts(
        [
            ("url", endpoint.url),
            ("state", format_state(endpoint, now=now)),
            ("reason", explain_state(endpoint)),
            ("operational", "gets the engine's own events" if endpoint.operational else ""),
            ("description", endpoint.description),
            ("filter", " ".join(endpoint.filter)),
            ("channels", " ".join(endpoint.channels)),
            ("condition", endpoint.condition or ""),
            ("headers", ", ".join(endpoint.header_names)),
            ("auth", describe_auth(endpoint)),
            ("client certificate", describe_certificate(endpoint)),
            ("format", describe_format(endpoint)),
            ("schedule", "default" if schedule is None else format_schedule(schedule)),
            ("timeout", "default" if timeout is None else format_duration(timeout)),
            *_format_limits(endpoint.limits),
            ("signatures", endpoint.signature),
            *(("secret", _format_secret(secret, now=now)) for secret in secrets),
            ("made", format_utc(endpoint.created_at)),
        ],
        title=f"Endpoint {format_id(Prefix.ENDPOINT, endpoint.id)}",
    )


def format_state(endpoint: Endpoint, *, now: datetime) -> str:
    """Write `active`, or `paused: since 3 min ago, by cli:ada`."""
    if endpoint.state is EndpointState.ACTIVE:
        return endpoint.state
    by = "" if endpoint.state_actor is None else f", by {format_actor(endpoint.state_actor)}"
    return f"{endpoint.state}: since {format_relative_time(endpoint.state_changed_at, now=now)}{by}"


def explain_state(endpoint: Endpoint) -> str:
    """Why an endpoint is in its state, as a sentence. Empty without a reason."""
    reason = format_state_reason(endpoint.state_reason).removeprefix(": ")
    return format_sentence(reason) if reason else ""


def print_new_secret(new_secret: CreatedSecret) -> None:
    """Print what receivers verify with. This is the only time that a secret is shown."""
    if new_secret.text is None:
        print_text(f"Public key: {new_secret.secret.public_key}")
        print_note("Receivers verify with it. The secret half stays here, sealed.")
        return
    print_text(f"Secret: {new_secret.text}")
    print_note("Receivers verify with it. Store it now: it will not be shown again.")


def _format_limits(limits: EndpointLimits) -> list[tuple[str, str]]:
    """Format the limits that differ from the defaults, as the options take them."""
    rate, disable_after = limits.rate, limits.disable_after
    breaker = (serialize_limits(limits)["breaker"] or {}).items()
    return [
        ("in flight", "" if limits.in_flight is None else f"at most {limits.in_flight}"),
        ("rate limit", "" if rate is None else f"{rate.limit} in {rate.per.total_seconds():g} s"),
        ("breaker", ", ".join(f"{name}={value:g}" for name, value in breaker)),
        ("disabled after", "" if disable_after is None else f"{disable_after / _HOUR:g} h of failures"),
        ("permanent", " ".join(map(str, limits.permanent))),
    ]


def _format_secret(secret: SealedSecret, *, now: datetime) -> str:
    until = (
        "signs"
        if secret.not_after is None
        else f"signs, ends {format_relative_time(secret.not_after, now=now)}"
    )
    public = "" if secret.public_key is None else f", {secret.public_key}"
    return f"key {secret.key_id}, {until}{public}"
