"""Moments, durations and reasons in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from delivery.domain.attempt import BodyUnavailable
from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.endpoint import EndpointState
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.services.sentences import describe_hold, describe_reason, format_state_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.domain.delivery import ActiveHold
    from delivery.domain.endpoint import Endpoint

__all__ = [
    "describe_auth",
    "describe_certificate",
    "describe_format",
    "describe_missing_body",
    "describe_next_step",
    "describe_reason",
    "describe_status",
    "format_duration",
    "format_relative_time",
    "format_schedule",
    "format_short_time",
    "format_utc",
]


def format_short_time(moment: datetime) -> str:
    """Write `11-22 18:27:00`, UTC."""
    return moment.astimezone(UTC).strftime("%m-%d %H:%M:%S")


def format_schedule(schedule: Sequence[timedelta]) -> str:
    """Write a retry schedule: `at once, 5 s, 5 min`."""
    return ", ".join(format_duration(delay) if delay else "at once" for delay in schedule)


def describe_auth(endpoint: Endpoint) -> str:
    """Write an endpoint's authentication: `basic, as waybill`; empty when it has none."""
    if endpoint.auth is None:
        return ""
    parts = [f"{_AUTH_WORDS[name]} {value}" for name, value in endpoint.auth.items() if name in _AUTH_WORDS]
    return ", ".join([_AUTH_KINDS[endpoint.auth["kind"]], *parts])


def describe_certificate(endpoint: Endpoint) -> str:
    """Write an endpoint's client certificate: `CN=waybill, until 2027-11-22`; empty when it has none."""
    certificate = endpoint.client_certificate
    return "" if certificate is None else f"{certificate['subject']}, until {certificate['not_after'][:10]}"


def describe_format(endpoint: Endpoint) -> str:
    """Write an endpoint's payload format: `cloudevents_binary, thin`; empty for the default."""
    names = [endpoint.format] if endpoint.format is not PayloadFormat.STANDARD else []
    return ", ".join([*names, *(["thin"] if endpoint.payload is PayloadKind.THIN else [])])


def describe_missing_body(reason: BodyUnavailable | None) -> str:
    """Say why the body of an attempt cannot be shown."""
    return "" if reason is None else _MISSING_BODY_TEXTS[reason]


_MISSING_BODY_TEXTS = {
    BodyUnavailable.NOT_KEPT: "It is no longer stored.",
    BodyUnavailable.SETTINGS_CHANGED: (
        "The body was built with settings that have changed since; only its hash is stored."
    ),
}
_AUTH_KINDS = {"basic": "basic", "bearer": "a bearer token", "oauth2": "OAuth 2.0 client credentials"}
_AUTH_WORDS = {"user": "as", "client_id": "as", "token_url": "tokens from", "scope": "for"}


def format_relative_time(moment: datetime, *, now: datetime) -> str:
    """Write `12 s ago` or `in 4 min`."""
    apart = moment - now
    if abs(apart) < timedelta(seconds=1):
        return "now"
    return f"in {format_duration(apart)}" if apart > timedelta(0) else f"{format_duration(-apart)} ago"


def describe_status(delivery: Delivery, endpoint: Endpoint | None, *, now: datetime) -> str:
    """Describe a delivery's status in one line. `endpoint` is None if it was deleted."""
    match delivery:
        case Delivery(status=DeliveryStatus.IN_FLIGHT):
            return "in flight: a worker is sending it now"
        case Delivery(status=DeliveryStatus.PENDING):
            return f"pending: {_describe_waiting(delivery, endpoint, now=now)}"
        case Delivery(status=final, finished_at=datetime() as finished_at):
            return f"{final} {format_relative_time(finished_at, now=now)}"
        case _:
            return delivery.status


def _describe_waiting(delivery: Delivery, endpoint: Endpoint | None, *, now: datetime) -> str:
    if endpoint is None:
        return "about to be cancelled, since its endpoint was deleted"
    if delivery.held is not None:
        reason = format_state_reason(delivery.held.reason)
        return (
            f"held, because {describe_hold(delivery.held.by)}{reason}{_format_until(delivery.held, now=now)}"
        )
    if delivery.due_at is None or delivery.due_at <= now:
        return "due now"
    due = f"due {format_relative_time(delivery.due_at, now=now)}"
    return due if endpoint.state is EndpointState.ACTIVE else f"{due}, while its endpoint is {endpoint.state}"


def _format_until(held: ActiveHold, *, now: datetime) -> str:
    return (
        ""
        if held.until is None
        else f", until {format_utc(held.until)} ({format_relative_time(held.until, now=now)})"
    )


def describe_next_step(delivery: Delivery, *, now: datetime) -> str:
    """Say in two or three words what comes next for a delivery, or when it ended."""
    if delivery.finished_at is not None:
        return format_relative_time(delivery.finished_at, now=now)
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return "in flight"
    if delivery.held is not None:
        return f"held: {delivery.held.by.replace('_', ' ')}"
    if delivery.due_at is None or delivery.due_at <= now:
        return "due now"
    return f"due {format_relative_time(delivery.due_at, now=now)}"
