"""How an endpoint and its secrets are shown to people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.cli.screen import note, print_facts, say
from delivery.endpoints import shown_limits
from delivery.model import EndpointState, Prefix, show_id
from delivery.tracing.sentences import sentence, state_reason, who
from delivery.wording import delays, exact, length, told_auth, told_certificate, told_format, when

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.endpoints import NewSecret
    from delivery.model import Endpoint, EndpointLimits, SealedSecret

_HOUR: Final = timedelta(hours=1)


def print_endpoint(endpoint: Endpoint, secrets: Sequence[SealedSecret], *, now: datetime) -> None:
    """Print an endpoint's facts; secrets by their key ids."""
    schedule, timeout = endpoint.schedule, endpoint.timeout
    print_facts(
        [
            ("url", endpoint.url),
            ("state", state_since(endpoint, now=now)),
            ("reason", because(endpoint)),
            ("operational", "gets the engine's own events" if endpoint.operational else ""),
            ("description", endpoint.description),
            ("filter", " ".join(endpoint.filter)),
            ("channels", " ".join(endpoint.channels)),
            ("condition", endpoint.condition or ""),
            ("headers", ", ".join(endpoint.header_names)),
            ("auth", told_auth(endpoint)),
            ("client certificate", told_certificate(endpoint)),
            ("format", told_format(endpoint)),
            ("schedule", "default" if schedule is None else delays(schedule)),
            ("timeout", "default" if timeout is None else length(timeout)),
            *_limits(endpoint.limits),
            ("signatures", endpoint.signature),
            *(("secret", _live(secret, now=now)) for secret in secrets),
            ("made", exact(endpoint.created_at)),
        ],
        title=f"Endpoint {show_id(Prefix.ENDPOINT, endpoint.id)}",
    )


def state_since(endpoint: Endpoint, *, now: datetime) -> str:
    """Write `active`, or `paused: since 3 min ago, by cli:ada`."""
    if endpoint.state is EndpointState.ACTIVE:
        return endpoint.state
    by = "" if endpoint.state_actor is None else f", by {who(endpoint.state_actor)}"
    return f"{endpoint.state}: since {when(endpoint.state_changed_at, now=now)}{by}"


def because(endpoint: Endpoint) -> str:
    """Why an endpoint is in its state, as a sentence; empty when nobody has said so."""
    told = state_reason(endpoint.state_reason).removeprefix(": ")
    return sentence(told) if told else ""


def print_new_secret(made: NewSecret) -> None:
    """Print what receivers verify with: the one time that a secret is told."""
    if made.text is None:
        say(f"Public key: {made.kept.public_key}")
        note("Receivers verify with it. The secret half stays here, sealed.")
        return
    say(f"Secret: {made.text}")
    note("Receivers verify with it. Keep it now: it will not be shown again.")


def _limits(limits: EndpointLimits) -> list[tuple[str, str]]:
    """What is its own, in the words in which it is asked for."""
    rate, disable_after = limits.rate, limits.disable_after
    breaker = (shown_limits(limits)["breaker"] or {}).items()
    return [
        ("in flight", "" if limits.in_flight is None else f"at most {limits.in_flight}"),
        ("rate limit", "" if rate is None else f"{rate.limit} in {rate.per.total_seconds():g} s"),
        ("breaker", ", ".join(f"{name}={value:g}" for name, value in breaker)),
        ("disabled after", "" if disable_after is None else f"{disable_after / _HOUR:g} h of failures"),
        ("permanent", " ".join(map(str, limits.permanent))),
    ]


def _live(secret: SealedSecret, *, now: datetime) -> str:
    until = "signs" if secret.not_after is None else f"signs, ends {when(secret.not_after, now=now)}"
    public = "" if secret.public_key is None else f", {secret.public_key}"
    return f"key {secret.key_id}, {until}{public}"
