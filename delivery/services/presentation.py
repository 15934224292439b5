"""Moments, durations and reasons in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from delivery.deliveries import NoBody
from delivery.model import Delivery, DeliveryStatus, EndpointState, Format, PayloadKind
from delivery.moments import exact, length
from delivery.tracing.sentences import held_by, state_reason, why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.model import Endpoint, Held

__all__ = [
    "delays",
    "exact",
    "length",
    "next_step",
    "short",
    "standing",
    "told_auth",
    "told_certificate",
    "told_format",
    "told_no_body",
    "when",
    "why",
]


def short(moment: datetime) -> str:
    """Write `11-22 18:27:00`, UTC."""
    return moment.astimezone(UTC).strftime("%m-%d %H:%M:%S")


def delays(schedule: Sequence[timedelta]) -> str:
    """Write a retry schedule: `at once, 5 s, 5 min`."""
    return ", ".join(length(delay) if delay else "at once" for delay in schedule)


def told_auth(endpoint: Endpoint) -> str:
    """Write an endpoint's authentication: `basic, as waybill`; empty when it has none."""
    if endpoint.auth is None:
        return ""
    told = [f"{_SAID[name]} {value}" for name, value in endpoint.auth.items() if name in _SAID]
    return ", ".join([_KINDS[endpoint.auth["kind"]], *told])


def told_certificate(endpoint: Endpoint) -> str:
    """Write an endpoint's client certificate: `CN=waybill, until 2027-11-22`; empty when it has none."""
    shown = endpoint.client_certificate
    return "" if shown is None else f"{shown['subject']}, until {shown['not_after'][:10]}"


def told_format(endpoint: Endpoint) -> str:
    """Write how an endpoint's events are written: `cloudevents_binary, thin`; empty for what is usual."""
    told = [endpoint.format] if endpoint.format is not Format.STANDARD else []
    return ", ".join([*told, *(["thin"] if endpoint.payload is PayloadKind.THIN else [])])


def told_no_body(why_not: NoBody | None) -> str:
    """Say why what an attempt sent cannot be shown."""
    return "" if why_not is None else _NO_BODY[why_not]


_NO_BODY = {
    NoBody.NOT_KEPT: "It is no longer kept.",
    NoBody.ANOTHER_SHAPE: "It was made of the event under settings that are others now; its hash is kept.",
}
_KINDS = {"basic": "basic", "bearer": "a bearer token", "oauth2": "OAuth 2.0 client credentials"}
_SAID = {"user": "as", "client_id": "as", "token_url": "tokens from", "scope": "for"}


def when(moment: datetime, *, now: datetime) -> str:
    """Write `12 s ago` or `in 4 min`."""
    apart = moment - now
    if abs(apart) < timedelta(seconds=1):
        return "now"
    return f"in {length(apart)}" if apart > timedelta(0) else f"{length(-apart)} ago"


def standing(delivery: Delivery, endpoint: Endpoint | None, *, now: datetime) -> str:
    """Say in one line where a delivery stands. No endpoint: it was deleted."""
    match delivery:
        case Delivery(status=DeliveryStatus.IN_FLIGHT):
            return "in flight: a worker has it just now"
        case Delivery(status=DeliveryStatus.PENDING):
            return f"pending: {_waiting(delivery, endpoint, now=now)}"
        case Delivery(status=final, finished_at=datetime() as finished_at):
            return f"{final} {when(finished_at, now=now)}"
        case _:
            return delivery.status


def _waiting(delivery: Delivery, endpoint: Endpoint | None, *, now: datetime) -> str:
    if endpoint is None:
        return "about to be cancelled, since its endpoint was deleted"
    if delivery.held is not None:
        said = state_reason(delivery.held.reason)
        return f"held, because {held_by(delivery.held.by)}{said}{_until(delivery.held, now=now)}"
    if delivery.due_at is None or delivery.due_at <= now:
        return "due now"
    due = f"due {when(delivery.due_at, now=now)}"
    return due if endpoint.state is EndpointState.ACTIVE else f"{due}, while its endpoint is {endpoint.state}"


def _until(held: Held, *, now: datetime) -> str:
    return "" if held.until is None else f", until {exact(held.until)} ({when(held.until, now=now)})"


def next_step(delivery: Delivery, *, now: datetime) -> str:
    """Say in two or three words what comes next for a delivery, or when it ended."""
    if delivery.finished_at is not None:
        return when(delivery.finished_at, now=now)
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return "in flight"
    if delivery.held is not None:
        return f"held: {delivery.held.by.replace('_', ' ')}"
    if delivery.due_at is None or delivery.due_at <= now:
        return "due now"
    return f"due {when(delivery.due_at, now=now)}"
