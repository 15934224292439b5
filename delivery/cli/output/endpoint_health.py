"""How an endpoint's health is shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.endpoint_screen import because, state_since
from delivery.cli.screen import print_facts, say
from delivery.model import EndpointState, Prefix, show_id
from delivery.tracing.sentences import counted, held_by
from delivery.wording import exact, length, when

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.endpoints import EnablePreview, EndpointHealth, Owed, Recent


def print_health(health: EndpointHealth, *, now: datetime) -> None:
    """Print how an endpoint does: what holds it first, how its last attempts went at the end."""
    known, endpoint = health.standing.health, health.endpoint
    print_facts(
        [
            ("url", endpoint.url),
            ("state", state_since(endpoint, now=now)),
            ("reason", because(endpoint)),
            ("held", _held(health, now=now)),
            ("waiting", f"{_deliveries(health.waiting)} that no worker has"),
            ("breaker", _breaker(health, now=now)),
            ("in flight", _in_flight(health)),
            ("asks to wait", _moment(known.waits_until, now=now)),
            ("failing since", _moment(known.failing_since, now=now)),
            ("disabled at", _moment(health.disabled_at, now=now, more=", if it only fails until then")),
            ("last success", _moment(known.last_succeeded_at, now=now) or "none"),
            ("last failure", _moment(known.last_failed_at, now=now) or "none"),
            ("last hour", _last_hour(health.recent)),
            ("took", _latencies(health.recent)),
        ],
        title=f"Health of endpoint {show_id(Prefix.ENDPOINT, endpoint.id)}",
    )


def print_preview(preview: EnablePreview, *, now: datetime) -> None:
    """Print what enabling an endpoint would let go."""
    shown = show_id(Prefix.ENDPOINT, preview.endpoint.id)
    if preview.endpoint.state is EndpointState.ACTIVE:
        say(f"{shown} is active: enabling it changes nothing.")
        return
    print_facts(
        [
            ("held", _deliveries(preview.held)),
            ("oldest", _owed(preview.oldest, now=now)),
            ("newest", _owed(preview.newest, now=now)),
            ("in flight", f"{preview.at_first} at first, doubling with good answers, up to {preview.up_to}"),
        ],
        title=f"Enabling {shown} would let go",
    )
    say("Nothing was changed.", style="dim")


def _held(health: EndpointHealth, *, now: datetime) -> str:
    if health.hold is None:
        return "nothing holds it"
    until = "" if health.hold.until is None else f", until {_moment(health.hold.until, now=now)}"
    oldest = "" if health.oldest_held is None else f"; oldest: {_owed(health.oldest_held, now=now)}"
    held = _deliveries(health.held)
    return f"{held}, because {held_by(health.hold.by)}{until}{oldest}"


def _breaker(health: EndpointHealth, *, now: datetime) -> str:
    breaker = health.standing.health.breaker
    probe = "" if health.probe_at is None else f", probe {when(health.probe_at, now=now)}"
    times = f", opened {counted(breaker.openings, 'time')} in a row" if breaker.openings else ""
    return f"{breaker.state}: since {when(breaker.since, now=now)}{probe}{times}"


def _in_flight(health: EndpointHealth) -> str:
    ramping = ", going up" if health.standing.health.limit.ramping else ""
    most = "" if health.limit == health.most else f" (of {health.most} at full speed)"
    return f"{health.standing.in_flight} of at most {health.limit}{most}{ramping}"


def _last_hour(recent: Recent) -> str:
    if recent.success_ratio is None:
        return "no attempt"
    share = f"{recent.success_ratio:.1%} succeeded"
    attempts = counted(recent.attempts, "attempt")
    return f"the newest {attempts}, {share}" if recent.sampled else f"{attempts}, {share}"


def _latencies(recent: Recent) -> str:
    taken = [("p50", recent.p50), ("p95", recent.p95), ("p99", recent.p99)]
    return ", ".join(f"{name} {length(time)}" for name, time in taken if time is not None)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count:,} deliveries"


def _owed(owed: Owed | None, *, now: datetime) -> str:
    return (
        "" if owed is None else f"{show_id(Prefix.DELIVERY, owed.id)}, made {when(owed.created_at, now=now)}"
    )


def _moment(moment: datetime | None, *, now: datetime, more: str = "") -> str:
    return "" if moment is None else f"{exact(moment)} ({when(moment, now=now)}){more}"
