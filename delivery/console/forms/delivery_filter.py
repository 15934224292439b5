"""Parse the delivery filters of a URL and write them back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.domain.delivery_filter import FILTER_FIELDS, DeliveryFilter, parse_delivery_filter
from delivery.domain.filter_fields import InvalidFilter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.console.web.context import Form

DELIVERY_FILTER_NAMES: Final = (*FILTER_FIELDS, "since", "until")
# Filters that the form shows only on demand.
SECONDARY_FILTER_NAMES: Final = frozenset(DELIVERY_FILTER_NAMES) - {"type", "status", "since", "endpoint"}
PERIODS: Final = {"1h": "Last hour", "24h": "Last day", "7d": "Last week", "30d": "Last 30 days"}


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
    raw = {name: values if _is_list(name) else values[0] for name, values in entered.items()}
    selection, errors = None, {}
    try:
        selection = parse_delivery_filter(raw, now=now)
    except InvalidFilter as error:
        errors = dict(error.errors)
    return DeliveryFilterForm(entered, selection, errors, form.get_text("order") == "oldest")


def _is_list(name: str) -> bool:
    return name in FILTER_FIELDS and FILTER_FIELDS[name].max_values is not None


def _split_values(name: str, values: Sequence[str]) -> list[str]:
    """Split values at commas, except for filters whose values may contain commas."""
    if name in {"payload", "idempotency_key", "since", "until"}:
        return list(values)
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
