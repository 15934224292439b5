"""From an address to the deliveries that it means, and back: every filter is in the address. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from delivery.checks import check_text, field
from delivery.errors import Invalid, MalformedId
from delivery.filters import check_pattern
from delivery.model import DeliveryStatus, EndpointId, EventId, Prefix, parse_id
from delivery.payload import PayloadEquals
from delivery.selection import DeliverySelection, check_http, check_outcome
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from delivery.console.visits import Form

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

# As the API calls them.
NAMES: Final = (
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
# What the first row of the form does not show.
RARER: Final = frozenset(NAMES) - {"type", "status", "since", "endpoint"}
PERIODS: Final = {"1h": "Last hour", "24h": "Last day", "7d": "Last week", "30d": "Last 30 days"}
MOST_VALUES: Final = 50
_LONGEST_KEY: Final = 255
_MOST_ATTEMPTS: Final = 1_000_000
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,4})(m|h|d)")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of an address as they were written, and what is wrong with them.

    `wanted` None: at least one cannot be read; `faults` says why, by its name.
    """

    written: dict[str, list[str]]
    wanted: DeliverySelection | None
    faults: dict[str, str]
    oldest_first: bool

    @property
    def rarer_are_set(self) -> bool:
        """Whether a filter is set that the first row of the form does not show."""
        return any(name in self.written for name in RARER)

    @property
    def query(self) -> dict[str, list[str] | str]:
        """The filters for an address."""
        return {**self.written, **({"order": "oldest"} if self.oldest_first else {})}

    def one(self, name: str) -> str:
        """The only value of a filter, or the first."""
        return next(iter(self.written.get(name, ())), "")

    def many(self, name: str) -> str:
        """All values of a filter, as they stand in one field."""
        return ", ".join(self.written.get(name, ()))

    def has(self, name: str, value: str) -> bool:
        """Whether a filter has this value."""
        return value in self.written.get(name, ())


def read_filters(form: Form, *, now: datetime) -> Filters:
    """Read the filters of an address; what cannot be read becomes a fault, never an error."""
    written = {name: values for name in NAMES if (values := _split(name, form.many(name)))}
    faults: dict[str, str] = {}
    read: dict[str, Any] = {}
    for name, values in written.items():
        try:
            read[name] = _READERS[name](values, now)
        except Invalid as error:
            faults[name] = error.why
        except MalformedId as error:
            faults[name] = str(error)
    if "since" in read and "until" in read and read["until"] < read["since"]:
        faults["until"] = "lies before the beginning"
    wanted = None if faults else DeliverySelection(**{_FIELDS.get(n, n): value for n, value in read.items()})
    return Filters(written, wanted, faults, form.text("order") == "oldest")


def _split(name: str, values: Sequence[str]) -> list[str]:
    """Several values may stand in one field; payloads and keys may have commas of their own."""
    if name in {"payload", "idempotency_key", "since", "until"}:
        return list(values)
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _each(name: str, check: Callable[[str], T]) -> Callable[[Sequence[str], datetime], tuple[T, ...]]:
    def read(values: Sequence[str], _now: datetime) -> tuple[T, ...]:
        with field(name):
            if len(values) > MOST_VALUES:
                raise ValueError(f"may have {MOST_VALUES} values, not {len(values)}")
            return tuple(dict.fromkeys(check(value) for value in values))

    return read


def _only(name: str, check: Callable[[str], T]) -> Callable[[Sequence[str], datetime], T]:
    def read(values: Sequence[str], _now: datetime) -> T:
        with field(name):
            return check(values[0])

    return read


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:8]) > _MOST_ATTEMPTS:
        raise ValueError(f"must be a whole number from 0 to {_MOST_ATTEMPTS:,}")
    return int(text)


def _key(text: str) -> str:
    return check_text(text, least=1, most=_LONGEST_KEY)


def _moment(name: str) -> Callable[[Sequence[str], datetime], datetime]:
    def read(values: Sequence[str], now: datetime) -> datetime:
        with field(name):
            return moment_of(values[0], now=now)

    return read


def moment_of(text: str, *, now: datetime) -> datetime:
    """Read `24h` (so long ago), `2026-11-25T18:00` (UTC) or a moment with a time zone; raises ValueError."""
    ago = _PERIOD.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a moment such as 2026-11-25T18:00, or 24h for so long ago") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment < _EARLIEST:
        raise ValueError("must not lie before 1970")
    return moment


def _member(kind: type[E]) -> Callable[[str], E]:
    def read(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(kind)}") from None

    return read


_FIELDS: Final = {
    "endpoint": "endpoints",
    "event": "event_id",
    "type": "types",
    "status": "statuses",
    "outcome": "outcomes",
    "response": "http",
}
_READERS: Final[dict[str, Callable[[Sequence[str], datetime], Any]]] = {
    "endpoint": _each("endpoint", lambda text: EndpointId(parse_id(Prefix.ENDPOINT, text))),
    "event": _only("event", lambda text: EventId(parse_id(Prefix.EVENT, text))),
    "type": _each("type", check_pattern),
    "status": _each("status", _member(DeliveryStatus)),
    "outcome": _each("outcome", check_outcome),
    "response": _each("response", check_http),
    "since": _moment("since"),
    "until": _moment("until"),
    "attempts_min": _only("attempts_min", _whole),
    "attempts_max": _only("attempts_max", _whole),
    "idempotency_key": _only("idempotency_key", _key),
    "payload": _each("payload", PayloadEquals.parse),
    "held_by": _each("held_by", _member(Hold)),
}
