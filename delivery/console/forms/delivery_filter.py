"""Parse the delivery filters of a URL and write them back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter, check_http_status, check_outcome
from delivery.domain.durations import parse_time
from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import EndpointId, EventId, Prefix, parse_id
from delivery.domain.payload_path import PayloadEquals
from delivery.domain.validation import check_text, validating_field
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.console.web.context import Form

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# The API uses the same names.
DELIVERY_FILTER_NAMES: Final = (
    "endpoint",
    "event",
    "type",
    "status",
    "outcome",
    "response",
    "since",
    "until",
    "attempts_min",
    "attempts_max",
    "idempotency_key",
    "payload",
    "held_by",
)
# Filters that the form shows only on demand.
SECONDARY_FILTER_NAMES: Final = frozenset(DELIVERY_FILTER_NAMES) - {"type", "status", "since", "endpoint"}
PERIODS: Final = {"1h": "Last hour", "24h": "Last day", "7d": "Last week", "30d": "Last 30 days"}
MAX_VALUES: Final = 50
_MAX_KEY_LENGTH: Final = 255
_MAX_ATTEMPTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DeliveryFilterForm:
    """The filters as entered, and their errors.

    `selection` is None if at least one is invalid; `errors` then has the reason by name.
    """

    values: dict[str, list[str]]
    selection: DeliveryFilter | None
    errors: dict[str, str]
    oldest_first: bool

    @property
    def has_secondary_filters(self) -> bool:
        """Whether a filter is set that the form shows only on demand."""
        return any(name in self.values for name in SECONDARY_FILTER_NAMES)

    @property
    def query_params(self) -> dict[str, list[str] | str]:
        """The filters as query parameters."""
        return {**self.values, **({"order": "oldest"} if self.oldest_first else {})}

    def get_first(self, name: str) -> str:
        """The first value of a filter; empty if it is not set."""
        return next(iter(self.values.get(name, ())), "")

    def join_values(self, name: str) -> str:
        """All values of a filter, joined as they appear in one field."""
        return ", ".join(self.values.get(name, ()))

    def has_value(self, name: str, value: str) -> bool:
        """Whether a filter has this value."""
        return value in self.values.get(name, ())


def parse_delivery_filters(form: Form, *, now: datetime) -> DeliveryFilterForm:
    """Parse the filters of a URL; an invalid value is recorded as an error and never raises."""
    entered = {
        name: values for name in DELIVERY_FILTER_NAMES if (values := _split_values(name, form.get_all(name)))
    }
    errors: dict[str, str] = {}
    parsed: dict[str, Any] = {}
    for name, values in entered.items():
        try:
            parsed[name] = _PARSERS[name](values, now)
        except Invalid as error:
            errors[name] = error.why
        except MalformedId as error:
            errors[name] = str(error)
    if "since" in parsed and "until" in parsed and parsed["until"] < parsed["since"]:
        errors["until"] = "is before the start"
    selection = (
        None
        if errors
        else DeliveryFilter(**{_SELECTION_FIELDS.get(n, n): value for n, value in parsed.items()})
    )
    return DeliveryFilterForm(entered, selection, errors, form.get_text("order") == "oldest")


def _split_values(name: str, values: Sequence[str]) -> list[str]:
    """Split values at commas, except for filters whose values may contain commas."""
    if name in {"payload", "idempotency_key", "since", "until"}:
        return list(values)
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _parse_each(name: str, check: Callable[[str], T]) -> Callable[[Sequence[str], datetime], tuple[T, ...]]:
    def parse(values: Sequence[str], _now: datetime) -> tuple[T, ...]:
        with validating_field(name):
            if len(values) > MAX_VALUES:
                raise ValueError(f"may have {MAX_VALUES} values, not {len(values)}")
            return tuple(dict.fromkeys(check(value) for value in values))

    return parse


def _parse_single(name: str, check: Callable[[str], T]) -> Callable[[Sequence[str], datetime], T]:
    def parse(values: Sequence[str], _now: datetime) -> T:
        with validating_field(name):
            return check(values[0])

    return parse


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:8]) > _MAX_ATTEMPTS:
        raise ValueError(f"must be a whole number from 0 to {_MAX_ATTEMPTS:,}")
    return int(text)


def _parse_key(text: str) -> str:
    return check_text(text, min_length=1, max_length=_MAX_KEY_LENGTH)


def _make_time_parser(name: str) -> Callable[[Sequence[str], datetime], datetime]:
    def parse(values: Sequence[str], now: datetime) -> datetime:
        with validating_field(name):
            return parse_time(values[0], now=now, naive_is_utc=True)

    return parse


def _make_enum_parser(enum_type: type[E]) -> Callable[[str], E]:
    def parse(text: str) -> E:
        try:
            return enum_type(text)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(enum_type)}") from None

    return parse


_SELECTION_FIELDS: Final = {
    "endpoint": "endpoints",
    "event": "event_id",
    "type": "types",
    "status": "statuses",
    "outcome": "outcomes",
    "response": "http",
}
_PARSERS: Final[dict[str, Callable[[Sequence[str], datetime], Any]]] = {
    "endpoint": _parse_each("endpoint", lambda text: EndpointId(parse_id(Prefix.ENDPOINT, text))),
    "event": _parse_single("event", lambda text: EventId(parse_id(Prefix.EVENT, text))),
    "type": _parse_each("type", check_pattern),
    "status": _parse_each("status", _make_enum_parser(DeliveryStatus)),
    "outcome": _parse_each("outcome", check_outcome),
    "response": _parse_each("response", check_http_status),
    "since": _make_time_parser("since"),
    "until": _make_time_parser("until"),
    "attempts_min": _parse_single("attempts_min", _parse_count),
    "attempts_max": _parse_single("attempts_max", _parse_count),
    "idempotency_key": _parse_single("idempotency_key", _parse_key),
    "payload": _parse_each("payload", PayloadEquals.parse),
    "held_by": _parse_each("held_by", _make_enum_parser(Hold)),
}
