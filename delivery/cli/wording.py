"""Moments, durations and reasons in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from delivery.model import Delivery, DeliveryStatus, EndpointState
from retries import Reason, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.model import Endpoint

_UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_OF_OURS = {"endpoint_deleted": "Its endpoint was deleted, so it has nowhere to go."}


def exact(moment: datetime) -> str:
    """Write `2026-11-22 18:27:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(moment: datetime) -> str:
    """Write `11-22 18:27:00`, UTC."""
    return moment.astimezone(UTC).strftime("%m-%d %H:%M:%S")


def length(duration: timedelta) -> str:
    """Write a duration with as much precision as a person can use: `3 ms`, `1.2 s`, `4 min`, `2 days`."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004  from ten on, tenths are noise
        return f"{seconds:.2g} s"
    for unit, size in _UNITS:
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "0 s"


def delays(schedule: Sequence[timedelta]) -> str:
    """Write a retry schedule: `at once, 5 s, 5 min`."""
    return ", ".join(length(delay) if delay else "at once" for delay in schedule)


def when(moment: datetime, *, now: datetime) -> str:
    """Write `12 s ago` or `in 4 min`."""
    apart = moment - now
    if abs(apart) < timedelta(seconds=1):
        return "now"
    return f"in {length(apart)}" if apart > timedelta(0) else f"{length(-apart)} ago"


def why(reason: str) -> str:
    """A reason of the ledger as a sentence: most are codes, some were written by a person's request."""
    if reason in _OF_OURS:
        return _OF_OURS[reason]
    try:
        return explain(Reason(reason))
    except ValueError:
        return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")


def standing(delivery: Delivery, endpoint: Endpoint | None, *, now: datetime) -> str:
    """Say in one line where a delivery stands. No endpoint: it was deleted."""
    match delivery:
        case Delivery(status=DeliveryStatus.IN_FLIGHT):
            return "in flight: a worker has it just now"
        case Delivery(status=DeliveryStatus.PENDING, due_at=due_at):
            return f"pending: {_waiting(endpoint, due_at, now=now)}"
        case Delivery(status=final, finished_at=datetime() as finished_at):
            return f"{final} {when(finished_at, now=now)}"
        case _:
            return delivery.status


def _waiting(endpoint: Endpoint | None, due_at: datetime | None, *, now: datetime) -> str:
    if endpoint is None:
        return "about to be cancelled, since its endpoint was deleted"
    if endpoint.state is not EndpointState.ACTIVE:
        return f"held, because its endpoint is {endpoint.state}"
    if due_at is None or due_at <= now:
        return "due now"
    return f"due {when(due_at, now=now)}"


def next_step(delivery: Delivery, *, now: datetime) -> str:
    """Say in two or three words what comes next for a delivery, or when it ended."""
    if delivery.finished_at is not None:
        return when(delivery.finished_at, now=now)
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return "in flight"
    if delivery.due_at is None or delivery.due_at <= now:
        return "due now"
    return f"due {when(delivery.due_at, now=now)}"
