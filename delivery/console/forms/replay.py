"""Parse a replay from a URL or a form, with errors by field. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from delivery.console.forms.delivery_filter import DeliveryFilterForm, parse_delivery_filters
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import Invalid
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import MissingEventFilter
from delivery.services.replays.validation import NewReplay

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.web.context import Form

MISSING: Final = "missing"
_MISSING_EVENT_FILTERS: Final = {"endpoint", "type", "since", "until"}


@dataclass(frozen=True, slots=True)
class ReplayFormInput:
    """What a replay selects. `selection` is None if it is invalid; `errors` has the reason by field."""

    filters: DeliveryFilterForm
    selection: DeliveryFilter | MissingEventFilter | None
    errors: dict[str, str]
    is_missing: bool = False

    @property
    def is_unbounded(self) -> bool:
        """Whether the selection has no filter at all."""
        return isinstance(self.selection, DeliveryFilter) and self.selection.is_unbounded

    @property
    def query_params(self) -> dict[str, list[str] | str]:
        """The selection as query parameters, as they were entered."""
        return {**self.filters.values, **({MISSING: "1"} if self.is_missing else {})}

    def build_hidden_fields(self, now: datetime) -> dict[str, list[str]]:
        """The selection as hidden fields, bounded to `now` so that it means the same when sent later."""
        if self.selection is None or self.is_unbounded:
            return {}
        until = now if self.selection.until is None else min(now, self.selection.until)
        fields = build_query(replace(self.selection, until=until))
        return {**fields, **({MISSING: ["1"]} if self.is_missing else {})}


def parse_replay_input(form: Form, *, now: datetime) -> ReplayFormInput:
    """Parse what a replay selects."""
    filters = parse_delivery_filters(form, now=now)
    if not form.is_checked(MISSING):
        return ReplayFormInput(filters, filters.selection, filters.errors)
    errors = dict(filters.errors)
    for name in sorted(filters.values.keys() - _MISSING_EVENT_FILTERS):
        errors[name] = "does not apply to missing events; remove it"
    if len(filters.values.get("endpoint", ())) != 1:
        errors["endpoint"] = "must be exactly one endpoint"
    selected = filters.selection
    if errors or selected is None:
        return ReplayFormInput(filters, None, errors, is_missing=True)
    selection = MissingEventFilter(selected.endpoints[0], selected.since, selected.until, selected.types)
    return ReplayFormInput(filters, selection, errors, is_missing=True)


def parse_new_replay(form: Form, selection: DeliveryFilter | MissingEventFilter) -> NewReplay:
    """Parse the replay of a form with this selection; raises Invalid for an invalid rate."""
    return NewReplay(
        selection,
        form.get_text("reason"),
        rate=parse_rate(form.get_text("rate")),
        hold=form.is_checked("hold"),
        everything=form.is_checked("everything"),
    )


def parse_rate(text: str) -> float | None:
    """Parse deliveries per second; None if empty, which means no limit. Raises Invalid."""
    if not text:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if math.isnan(rate):
        raise Invalid("rate", "must be a number of deliveries per second, such as 50 or 0.5")
    return rate


def build_query(selection: DeliveryFilter | MissingEventFilter) -> dict[str, list[str]]:
    """Write the selection as query parameters, with values as a user would enter them."""
    times = {
        "since": [] if selection.since is None else [selection.since.isoformat()],
        "until": [] if selection.until is None else [selection.until.isoformat()],
    }
    if isinstance(selection, MissingEventFilter):
        params = {
            "endpoint": [format_id(Prefix.ENDPOINT, selection.endpoint_id)],
            "type": list(selection.types),
        }
    else:
        params = {
            "endpoint": [format_id(Prefix.ENDPOINT, one) for one in selection.endpoints],
            "event": [] if selection.event_id is None else [format_id(Prefix.EVENT, selection.event_id)],
            "type": list(selection.types),
            "status": list(selection.statuses),
            "outcome": list(selection.outcomes),
            "response": list(selection.http),
            "attempts_min": _format_optional(selection.attempts_min),
            "attempts_max": _format_optional(selection.attempts_max),
            "idempotency_key": _format_optional(selection.idempotency_key),
            "payload": [one.text for one in selection.payload],
            "held_by": list(selection.held_by),
        }
    return {name: values for name, values in (params | times).items() if values}


def _format_optional(value: object) -> list[str]:
    return [] if value is None else [str(value)]
