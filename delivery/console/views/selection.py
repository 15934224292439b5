"""What a replay is to send, in words, and as the address of the search that finds it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from delivery.jobs import MissingSelection
from delivery.model import Prefix, show_id
from delivery.moments import exact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from delivery.selection import DeliverySelection

_MOST_NAMED: Final = 10


def told(wanted: DeliverySelection | MissingSelection) -> list[tuple[str, str]]:
    """Each filter with what it asks for; nothing for a selection of all there is."""
    if isinstance(wanted, MissingSelection):
        parts = [
            ("Events never owed to", show_id(Prefix.ENDPOINT, wanted.endpoint_id)),
            ("Event type", _any_of(wanted.types)),
            ("On a channel", _any_of(wanted.channels)),
            ("Condition", wanted.condition or ""),
            ("Accepted", _between(wanted)),
        ]
    else:
        parts = [
            ("Status", _any_of(one.replace("_", " ") for one in wanted.statuses)),
            ("Endpoint", _any_of(show_id(Prefix.ENDPOINT, one) for one in wanted.endpoints)),
            ("Event", "" if wanted.event_id is None else show_id(Prefix.EVENT, wanted.event_id)),
            ("Event type", _any_of(wanted.types)),
            ("Last outcome", _any_of(one.replace("_", " ") for one in wanted.outcomes)),
            ("Last answer", _any_of(wanted.http)),
            ("Held by", _any_of(one.replace("_", " ") for one in wanted.held_by)),
            ("Attempts", _attempts(wanted.attempts_min, wanted.attempts_max)),
            ("Idempotency key", wanted.idempotency_key or ""),
            ("Event holds", " and ".join(one.text for one in wanted.payload)),
            ("Made", _between(wanted)),
        ]
    return [(name, text) for name, text in parts if text]


def query_of(wanted: DeliverySelection | MissingSelection) -> dict[str, list[str]]:
    """The selection as the query of an address; all values as they would be typed."""
    moments = {
        "since": [] if wanted.since is None else [wanted.since.isoformat()],
        "until": [] if wanted.until is None else [wanted.until.isoformat()],
    }
    if isinstance(wanted, MissingSelection):
        shown = {"endpoint": [show_id(Prefix.ENDPOINT, wanted.endpoint_id)], "type": list(wanted.types)}
    else:
        shown = {
            "endpoint": [show_id(Prefix.ENDPOINT, one) for one in wanted.endpoints],
            "event": [] if wanted.event_id is None else [show_id(Prefix.EVENT, wanted.event_id)],
            "type": list(wanted.types),
            "status": list(wanted.statuses),
            "outcome": list(wanted.outcomes),
            "response": list(wanted.http),
            "attempts_min": _written(wanted.attempts_min),
            "attempts_max": _written(wanted.attempts_max),
            "idempotency_key": _written(wanted.idempotency_key),
            "payload": [one.text for one in wanted.payload],
            "held_by": list(wanted.held_by),
        }
    return {name: values for name, values in (shown | moments).items() if values}


def _written(value: object) -> list[str]:
    return [] if value is None else [str(value)]


def _any_of(values: Iterable[str]) -> str:
    every = list(values)
    named, more = every[:_MOST_NAMED], len(every) - _MOST_NAMED
    return " or ".join(named) + (f" or {more} more" if more > 0 else "")


def _attempts(least: int | None, most: int | None) -> str:
    match least, most:
        case None, None:
            return ""
        case None, _:
            return f"at most {most}"
        case _, None:
            return f"at least {least}"
        case _:
            return f"{least} to {most}"


def _between(wanted: Any) -> str:
    since = "" if wanted.since is None else f"since {exact(wanted.since)}"
    until = "" if wanted.until is None else f"before {exact(wanted.until)}"
    return ", ".join(part for part in (since, until) if part)
