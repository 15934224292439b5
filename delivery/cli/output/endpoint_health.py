"""Print an endpoint's health as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.output.endpoints import explain_state, format_state
from delivery.cli.output.table import print_facts, print_text
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.services.presentation import format_relative_time
from delivery.services.sentences import describe_hold, format_count

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger.stats.endpoint_stats import OwedDelivery, RecentAttempts
    from delivery.services.endpoints.health import EnablePreview, EndpointHealth


def print_health(health: EndpointHealth, *, now: datetime) -> None:
    """Print an endpoint's health: first what holds it, last the statistics of its attempts."""
    state, endpoint = health.record.health, health.endpoint
    print_facts(
        [
            ("url", endpoint.url),
            ("state", format_state(endpoint, now=now)),
            ("reason", explain_state(endpoint)),
            ("held", _format_held(health, now=now)),
            ("waiting", f"{_format_delivery_count(health.waiting)} that no worker has"),
            ("breaker", _format_breaker(health, now=now)),
            ("in flight", _format_in_flight(health)),
            ("asks to wait", _format_time(state.waits_until, now=now)),
            ("failing since", _format_time(state.failing_since, now=now)),
            (
                "disabled at",
                _format_time(health.disabled_at, now=now, suffix=", if it only fails until then"),
            ),
            ("last success", _format_time(state.last_succeeded_at, now=now) or "none"),
            ("last failure", _format_time(state.last_failed_at, now=now) or "none"),
            ("last hour", _format_last_hour(health.recent)),
            ("took", _format_latencies(health.recent)),
        ],
        title=f"Health of endpoint {format_id(Prefix.ENDPOINT, endpoint.id)}",
    )


def print_enable_preview(preview: EnablePreview, *, now: datetime) -> None:
    """Print which deliveries enabling an endpoint would release."""
    id_text = format_id(Prefix.ENDPOINT, preview.endpoint.id)
    if preview.endpoint.state is EndpointState.ACTIVE:
        print_text(f"{id_text} is active: enabling it changes nothing.")
        return
    first, most = preview.initial_in_flight, preview.max_in_flight
    print_facts(
        [
            ("held", _format_delivery_count(preview.held)),
            ("oldest", _format_pending_delivery(preview.oldest, now=now)),
            ("newest", _format_pending_delivery(preview.newest, now=now)),
            (
                "in flight",
                f"{first} at first, doubling with good answers, up to {most}",
            ),
        ],
        title=f"Enabling {id_text} would let go",
    )
    print_text("Nothing was changed.", style="dim")


def _format_held(health: EndpointHealth, *, now: datetime) -> str:
    if health.hold is None:
        return "nothing holds it"
    until = "" if health.hold.until is None else f", until {_format_time(health.hold.until, now=now)}"
    oldest = (
        ""
        if health.oldest_held is None
        else f"; oldest: {_format_pending_delivery(health.oldest_held, now=now)}"
    )
    held = _format_delivery_count(health.held)
    return f"{held}, because {describe_hold(health.hold.by)}{until}{oldest}"


def _format_breaker(health: EndpointHealth, *, now: datetime) -> str:
    breaker = health.record.health.breaker
    probe = "" if health.probe_at is None else f", probe {format_relative_time(health.probe_at, now=now)}"
    times = f", opened {format_count(breaker.openings, 'time')} in a row" if breaker.openings else ""
    return f"{breaker.state}: since {format_relative_time(breaker.since, now=now)}{probe}{times}"


def _format_in_flight(health: EndpointHealth) -> str:
    ramping = ", going up" if health.record.health.limit.ramping else ""
    maximum = (
        ""
        if health.in_flight_limit == health.max_in_flight
        else f" (of {health.max_in_flight} at full speed)"
    )
    return f"{health.record.in_flight} of at most {health.in_flight_limit}{maximum}{ramping}"


def _format_last_hour(recent: RecentAttempts) -> str:
    if recent.success_ratio is None:
        return "no attempt"
    share = f"{recent.success_ratio:.1%} succeeded"
    attempts = format_count(recent.attempts, "attempt")
    return f"the newest {attempts}, {share}" if recent.sampled else f"{attempts}, {share}"


def _format_latencies(recent: RecentAttempts) -> str:
    taken = [("p50", recent.p50), ("p95", recent.p95), ("p99", recent.p99)]
    return ", ".join(f"{name} {format_duration(time)}" for name, time in taken if time is not None)


def _format_delivery_count(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count:,} deliveries"


def _format_pending_delivery(delivery: OwedDelivery | None, *, now: datetime) -> str:
    if delivery is None:
        return ""
    created = format_relative_time(delivery.created_at, now=now)
    return f"{format_id(Prefix.DELIVERY, delivery.id)}, made {created}"


def _format_time(moment: datetime | None, *, now: datetime, suffix: str = "") -> str:
    return "" if moment is None else f"{format_utc(moment)} ({format_relative_time(moment, now=now)}){suffix}"
