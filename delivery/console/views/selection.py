"""Describe in words what a replay selects. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from delivery.domain.durations import format_utc
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import MissingEventFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from delivery.domain.delivery_filter import DeliveryFilter

_MAX_NAMED: Final = 10


def describe_selection(selection: DeliveryFilter | MissingEventFilter) -> list[tuple[str, str]]:
    """List each filter with its value as text; empty for a selection of everything."""
    if isinstance(selection, MissingEventFilter):
        parts = [
            ("Events missing at", format_id(Prefix.ENDPOINT, selection.endpoint_id)),
            ("Event type", _join_alternatives(selection.types)),
            ("On a channel", _join_alternatives(selection.channels)),
            ("Condition", selection.condition or ""),
            ("Accepted", _format_time_range(selection)),
        ]
    else:
        parts = [
            ("Status", _join_alternatives(one.replace("_", " ") for one in selection.statuses)),
            ("Endpoint", _join_alternatives(format_id(Prefix.ENDPOINT, one) for one in selection.endpoints)),
            ("Event", "" if selection.event_id is None else format_id(Prefix.EVENT, selection.event_id)),
            ("Event type", _join_alternatives(selection.types)),
            ("Last outcome", _join_alternatives(one.replace("_", " ") for one in selection.outcomes)),
            ("Last response", _join_alternatives(selection.http)),
            ("Held by", _join_alternatives(one.replace("_", " ") for one in selection.held_by)),
            ("Attempts", _format_attempts(selection.attempts_min, selection.attempts_max)),
            ("Idempotency key", selection.idempotency_key or ""),
            ("Event data contains", " and ".join(one.text for one in selection.payload)),
            ("Created", _format_time_range(selection)),
        ]
    return [(name, text) for name, text in parts if text]


def _join_alternatives(values: Iterable[str]) -> str:
    every = list(values)
    first, more = every[:_MAX_NAMED], len(every) - _MAX_NAMED
    return " or ".join(first) + (f" or {more} more" if more > 0 else "")


def _format_attempts(minimum: int | None, maximum: int | None) -> str:
    match minimum, maximum:
        case None, None:
            return ""
        case None, _:
            return f"at most {maximum}"
        case _, None:
            return f"at least {minimum}"
        case _:
            return f"{minimum} to {maximum}"


def _format_time_range(wanted: Any) -> str:
    since = "" if wanted.since is None else f"since {format_utc(wanted.since)}"
    until = "" if wanted.until is None else f"before {format_utc(wanted.until)}"
    return ", ".join(part for part in (since, until) if part)
