"""From an address or a form to the replay that it means; what cannot be read is said of its field. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from delivery.console.filters import Filters, read_filters
from delivery.console.selected import query_of
from delivery.errors import Invalid
from delivery.jobs import MissingSelection
from delivery.replay import NewReplay
from delivery.selection import DeliverySelection

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.console.visits import Form

MISSING: Final = "missing"
_OF_MISSING: Final = {"endpoint", "type", "since", "until"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be sent. `wanted` None: it cannot be read, and `faults` say why by the field's name."""

    filters: Filters
    wanted: DeliverySelection | MissingSelection | None
    faults: dict[str, str]
    missing: bool = False

    @property
    def is_unbounded(self) -> bool:
        """Whether it means everything there is."""
        return isinstance(self.wanted, DeliverySelection) and self.wanted.is_unbounded

    @property
    def query(self) -> dict[str, list[str] | str]:
        """The selection for an address, as it was written."""
        return {**self.filters.written, **({MISSING: "1"} if self.missing else {})}

    def fixed(self, now: datetime) -> dict[str, list[str]]:
        """The selection for a form: it means what was found now, however long the form is looked at."""
        if self.wanted is None or self.is_unbounded:
            return {}
        until = now if self.wanted.until is None else min(now, self.wanted.until)
        fields = query_of(replace(self.wanted, until=until))
        return {**fields, **({MISSING: ["1"]} if self.missing else {})}


def read_asked(form: Form, *, now: datetime) -> Asked:
    """Read what is to be sent."""
    filters = read_filters(form, now=now)
    if not form.ticked(MISSING):
        return Asked(filters, filters.wanted, filters.faults)
    faults = dict(filters.faults)
    for name in sorted(filters.written.keys() - _OF_MISSING):
        faults[name] = "says nothing of events that were never owed; take it away"
    if len(filters.written.get("endpoint", ())) != 1:
        faults["endpoint"] = "must be one: it is asked what this one was never owed"
    wanted = filters.wanted
    if faults or wanted is None:
        return Asked(filters, None, faults, missing=True)
    selection = MissingSelection(wanted.endpoints[0], wanted.since, wanted.until, wanted.types)
    return Asked(filters, selection, faults, missing=True)


def read_replay(form: Form, wanted: DeliverySelection | MissingSelection) -> NewReplay:
    """The replay of a form that has a selection; raises Invalid for a rate that is no number."""
    return NewReplay(
        wanted,
        form.text("reason"),
        rate=read_rate(form.text("rate")),
        hold=form.ticked("hold"),
        everything=form.ticked("everything"),
    )


def read_rate(text: str) -> float | None:
    """Read so many deliveries per second; empty: as fast as replays may go. Raises Invalid."""
    if not text:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if math.isnan(rate):
        raise Invalid("rate", "must be a number of deliveries per second, such as 50 or 0.5")
    return rate
