"""Which deliveries a search, replay or export selects, and how API, CLI and console read it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.errors import Invalid, NotAllowed
from delivery.domain.event_patterns import check_pattern
from delivery.domain.filter_fields import FilterField, make_enum_parser, make_id_parser, parse_filter_fields
from delivery.domain.ids import EndpointId, EventId, Prefix, format_id, parse_id
from delivery.domain.payload_path import PayloadEquals
from delivery.domain.validation import check_text
from retries.health import Hold
from retries.outcome import OUTCOME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ATTEMPTS: Final = 1_000_000
MAX_FILTER_VALUES: Final = 50
MAX_IDEMPOTENCY_KEY_LENGTH: Final = 255
_HTTP_STATUS: Final = re.compile(r"[1-5](?:xx|[0-9]{2})")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Selects deliveries that match every field; a field with several values matches any of them.

    `since` (inclusive) and `until` (exclusive) bound when a delivery was created. `outcomes` and `http`
    (`503`, `5xx`) are about the last attempt; `types` are patterns (`order.*`); `attempts_min` and
    `attempts_max` bound the number of attempts. Empty fields match everything.
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
        """Whether this selects all deliveries."""
        return self == DeliveryFilter()

    def to_document(self) -> dict[str, Any]:
        """The filter as plain JSON, without its empty fields."""
        document = {field.name: _to_plain(field.name, getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, value in document.items() if value not in (None, [])}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DeliveryFilter:
        """Read back what `to_document` wrote."""
        return cls(**{name: _DOCUMENT_PARSERS[name](value) for name, value in document.items()})


def parse_delivery_filter(
    raw: Mapping[str, Any], *, now: datetime | None = None, limited: bool = True
) -> DeliveryFilter:
    """Build a filter from raw values under the names in FILTER_FIELDS, `since` and `until`.

    `parse_filter_fields` says which values are accepted. Raises InvalidFilter with every error.
    """
    return DeliveryFilter(**parse_filter_fields(raw, FILTER_FIELDS, now=now, limited=limited))


def require_bounded_filter(
    delivery_filter: DeliveryFilter, *, allow_unbounded: bool, is_operator: bool
) -> None:
    """Check that selecting all deliveries is explicit and is done by the operator.

    Raises Invalid when it is not explicit, NotAllowed for anyone but the operator.
    """
    if not delivery_filter.is_unbounded:
        return
    if not allow_unbounded:
        raise Invalid(
            "selection",
            "has no filter, so it selects every delivery; confirm with all, and use the operator's key",
        )
    if not is_operator:
        raise NotAllowed("Only the operator's key may select every delivery.")


def check_outcome(text: str) -> str:
    """Return the name of an outcome if it is known; raises ValueError that lists them."""
    if text not in OUTCOME_NAMES:
        raise ValueError(f"is not an outcome of an attempt; known: {', '.join(sorted(OUTCOME_NAMES))}")
    return text


def check_http_status(text: str) -> str:
    """Return `503` or `5xx`; raises ValueError for anything else."""
    if _HTTP_STATUS.fullmatch(text) is None:
        raise ValueError("must be an HTTP status such as 503, or a class such as 5xx")
    return text


def _parse_idempotency_key(text: str) -> str:
    return check_text(text, min_length=1, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:8]) > MAX_ATTEMPTS:
        raise ValueError(f"must be a whole number from 0 to {MAX_ATTEMPTS:,}")
    return int(text)


# By the names that JSON, queries, options and forms share. In addresses they stand in this order.
FILTER_FIELDS: Final[Mapping[str, FilterField]] = {
    "endpoint": FilterField("endpoints", make_id_parser(Prefix.ENDPOINT), MAX_FILTER_VALUES),
    "event": FilterField("event_id", make_id_parser(Prefix.EVENT)),
    "type": FilterField("types", check_pattern, MAX_FILTER_VALUES),
    "status": FilterField("statuses", make_enum_parser(DeliveryStatus), MAX_FILTER_VALUES),
    "outcome": FilterField("outcomes", check_outcome, MAX_FILTER_VALUES),
    "response": FilterField("http", check_http_status, MAX_FILTER_VALUES),
    "attempts_min": FilterField("attempts_min", _parse_count),
    "attempts_max": FilterField("attempts_max", _parse_count),
    "idempotency_key": FilterField("idempotency_key", _parse_idempotency_key),
    "payload": FilterField("payload", PayloadEquals.parse, MAX_FILTER_VALUES),
    "held_by": FilterField("held_by", make_enum_parser(Hold), MAX_FILTER_VALUES),
}


def _to_plain(name: str, value: Any) -> Any:
    match name:
        case "endpoints":
            return [format_id(Prefix.ENDPOINT, endpoint_id) for endpoint_id in value]
        case "event_id":
            return None if value is None else format_id(Prefix.EVENT, value)
        case "since" | "until":
            return None if value is None else value.isoformat()
        case "payload":
            return [condition.text for condition in value]
        case _:
            return [str(item) for item in value] if isinstance(value, tuple) else value


_DOCUMENT_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "endpoints": lambda value: tuple(EndpointId(parse_id(Prefix.ENDPOINT, text)) for text in value),
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
