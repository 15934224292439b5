"""How the fields of a filter are read from text: the same in queries, JSON, options and forms. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from delivery.domain.durations import parse_time
from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.ids import parse_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from enum import StrEnum
    from uuid import UUID

    from delivery.domain.ids import Prefix

    E = TypeVar("E", bound=StrEnum)


class InvalidFilter(Invalid):
    """Fields of a filter are wrong. `errors` says why, by name; `field` and `why` are the first of them."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        """Keep every error."""
        self.errors = errors
        super().__init__(*next(iter(errors.items())))


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field of a filter: the attribute that it sets, and how a text becomes its value.

    With `max_values` it is a list with at most that many values.
    """

    attribute: str
    parse: Callable[[str], Any]
    max_values: int | None = None

    def read(self, raw: Any, *, limited: bool = True) -> Any:
        """The value of the attribute. Raises ValueError and MalformedId."""
        if self.max_values is None:
            return self._read_value(raw)
        if limited and len(raw) > self.max_values:
            raise ValueError(f"may have at most {self.max_values} values, not {len(raw)}")
        return tuple(dict.fromkeys(map(self._read_value, raw)))

    def _read_value(self, raw: Any) -> Any:
        return self.parse(raw) if isinstance(raw, str) else raw


def parse_filter_fields(
    raw: Mapping[str, Any],
    fields: Mapping[str, FilterField],
    *,
    now: datetime | None = None,
    limited: bool = True,
) -> dict[str, Any]:
    """The attributes of a filter from raw values by name; every filter also has `since` and `until`.

    None and empty lists are not set. Values that are not text are used unchanged: a framework has parsed
    them. Ages such as `2h` count back from `now`; without `limited` a list may have any length.
    Raises InvalidFilter with every error.
    """
    read_time = partial(parse_time, now=now, naive_is_utc=True)
    all_fields = {
        **fields,
        "since": FilterField("since", read_time),
        "until": FilterField("until", read_time),
    }
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, value in raw.items():
        if value is None or value in ([], ()):
            continue
        try:
            values[all_fields[name].attribute] = all_fields[name].read(value, limited=limited)
        except (ValueError, MalformedId) as error:
            errors[name] = str(error)
    if "since" in values and "until" in values and values["until"] < values["since"]:
        errors["until"] = "must not be before since"
    if errors:
        raise InvalidFilter(errors)
    return values


def make_id_parser(prefix: Prefix) -> Callable[[str], UUID]:
    """A parser of ids of this kind; it raises MalformedId."""
    return partial(parse_id, prefix)


def make_enum_parser(enum_type: type[E]) -> Callable[[str], E]:
    """A parser of a member by its value; it raises ValueError, which lists them."""

    def parse(text: str) -> E:
        try:
            return enum_type(text)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(enum_type)}") from None

    return parse
