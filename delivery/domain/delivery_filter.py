"""Which deliveries are meant: the filters of search, replay and export, in one record. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.errors import Invalid, NotAllowed
from delivery.domain.ids import EndpointId, EventId, Prefix, format_id, parse_id
from delivery.domain.payload_path import PayloadEquals
from retries.health import Hold
from retries.outcome import OUTCOME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HTTP_STATUS: Final = re.compile(r"[1-5](?:xx|[0-9]{2})")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Deliveries that meet every filter, and of each filter any of its values; an empty filter asks nothing.

    Made from `since` on and before `until`. `outcomes` and `http` (`503`, `5xx`) are of the last attempt;
    `types` are patterns (`order.*`); `attempts_min` and `attempts_max` bound how many were made.
    """

    endpoints: tuple[EndpointId, ...] = ()
    event_id: EventId | None = None
    types: tuple[str, ...] = ()
    statuses: tuple[DeliveryStatus, ...] = ()
    outcomes: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    attempts_min: int | None = None
    attempts_max: int | None = None
    idempotency_key: str | None = None
    payload: tuple[PayloadEquals, ...] = ()
    held_by: tuple[Hold, ...] = ()

    @property
    def is_unbounded(self) -> bool:
        """Whether this means everything there is."""
        return self == DeliveryFilter()

    def to_document(self) -> dict[str, Any]:
        """The selection as plain JSON, without the filters that ask nothing."""
        document = {field.name: _to_plain(field.name, getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, value in document.items() if value not in (None, [])}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DeliveryFilter:
        """Read back what `to_document` wrote."""
        return cls(**{name: _PARSERS[name](value) for name, value in document.items()})


def require_bounded_filter(
    delivery_filter: DeliveryFilter, *, allow_unbounded: bool, is_operator: bool
) -> None:
    """Raise Invalid for a selection of all there is that does not say so, NotAllowed for who may not ask."""
    if not delivery_filter.is_unbounded:
        return
    if not allow_unbounded:
        raise Invalid(
            "selection",
            "has no filter, so it means every delivery there is; say so with all, and the operator's key",
        )
    if not is_operator:
        raise NotAllowed("Everything there is can be asked for with the operator's key alone.")


def check_outcome(text: str) -> str:
    """Give the name of an outcome back if it is one; raises ValueError that lists them."""
    if text not in OUTCOME_NAMES:
        raise ValueError(f"is no outcome of an attempt; known: {', '.join(sorted(OUTCOME_NAMES))}")
    return text


def check_http_status(text: str) -> str:
    """Give `503` or `5xx` back; raises ValueError for what is neither."""
    if _HTTP_STATUS.fullmatch(text) is None:
        raise ValueError("must be an HTTP status such as 503, or a class such as 5xx")
    return text


def _to_plain(name: str, value: Any) -> Any:
    match name:
        case "endpoints":
            return [format_id(Prefix.ENDPOINT, one) for one in value]
        case "event_id":
            return None if value is None else format_id(Prefix.EVENT, value)
        case "since" | "until":
            return None if value is None else value.isoformat()
        case "payload":
            return [one.text for one in value]
        case _:
            return [str(one) for one in value] if isinstance(value, tuple) else value


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "endpoints": lambda value: tuple(EndpointId(parse_id(Prefix.ENDPOINT, one)) for one in value),
    "event_id": lambda value: EventId(parse_id(Prefix.EVENT, value)),
    "types": tuple,
    "statuses": lambda value: tuple(map(DeliveryStatus, value)),
    "outcomes": tuple,
    "http": tuple,
    "since": datetime.fromisoformat,
    "until": datetime.fromisoformat,
    "attempts_min": int,
    "attempts_max": int,
    "idempotency_key": str,
    "payload": lambda value: tuple(map(PayloadEquals.parse, value)),
    "held_by": lambda value: tuple(map(Hold, value)),
}
