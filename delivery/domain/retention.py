"""How long things are kept, and what of a ledger is past its term. Pure.

Terms are whole days, and days are those of the partitions: by UTC, from midnight. A day is past a term when
all of it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from delivery.model import TenantId


class Content(StrEnum):
    """What has a term of its own."""

    PAYLOAD = "payload"
    ATTEMPTS = "attempts"
    DELIVERIES = "deliveries"
    EVENTS = "events"
    JOURNAL = "journal"


# Of what a tenant may have less kept. The journal is the operator's own: it tells who did what.
TENANTS_OWN: Final = (Content.PAYLOAD, Content.ATTEMPTS, Content.DELIVERIES, Content.EVENTS)
# What is no use without the other.
WITHIN: Final = {Content.PAYLOAD: Content.EVENTS, Content.ATTEMPTS: Content.DELIVERIES}
# What finds deliveries goes after them, on the same day.
OF_DELIVERIES: Final = ("deliveries", "failures", "endpoint_sequence")
_TABLES: Final = {
    Content.EVENTS: ("events",),
    Content.ATTEMPTS: ("attempts",),
    Content.DELIVERIES: OF_DELIVERIES,
    Content.JOURNAL: ("journal",),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """For how many days each kind of content is kept."""

    payload: int
    attempts: int
    deliveries: int
    events: int
    journal: int

    def days(self, content: Content) -> int:
        """For how many days this is kept."""
        return int(getattr(self, content))

    def shortened(self, own: Mapping[str, int] | None) -> dict[Content, int]:
        """A tenant's terms: its own where they are shorter; no part outlasts what it is a part of."""
        days = {
            content: min(self.days(content), (own or {}).get(content, self.days(content)))
            for content in TENANTS_OWN
        }
        for part, whole in WITHIN.items():
            days[part] = min(days[part], days[whole])
        return days


@dataclass(frozen=True, slots=True)
class Day:
    """The partition of a history table for one day."""

    table: str
    day: date

    @property
    def name(self) -> str:
        """What the partition is called."""
        return f"{self.table}_{self.day:%Y%m%d}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that there is. `bare`: a run has found no payload in it that could still go."""

    of: Day
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Thin:
    """What one tenant has of a kind of content goes where it was made before this day."""

    tenant_id: TenantId
    content: Content
    before: date


@dataclass(frozen=True, slots=True)
class Plan:
    """What is past its term, oldest first.

    Each of `drops` is one day of one kind of content, its tables in the order in which they go; `bodies` are
    days of events that lose their payloads, `thin` is what tenants have less kept of, and replay jobs that
    ended before `replays` are forgotten.
    """

    drops: tuple[tuple[Day, ...], ...]
    bodies: tuple[Day, ...]
    thin: tuple[Thin, ...]
    replays: date


def changed_own(
    own: Mapping[str, int], wanted: Mapping[str, int | None] | None, terms: Terms
) -> dict[str, int]:
    """A tenant's own terms after a change: None takes one away, or all of them; what is not named stays.

    Raises Invalid naming the one that nobody can have, or that is longer than the operator's.
    """
    if wanted is None:
        return {}
    for name, days in wanted.items():
        if name not in TENANTS_OWN:
            raise Invalid(f"retention.{name}", f"is not one of {', '.join(TENANTS_OWN)}")
        most = terms.days(Content(name))
        if days is not None and not 1 <= days <= most:
            raise Invalid(f"retention.{name}", f"must be from 1 to {most} days, which is the operator's term")
    return {name: days for name, days in {**own, **wanted}.items() if days is not None}


def first_kept(days: int, now: datetime) -> date:
    """The oldest day of which something is not older than so many days."""
    return (now.astimezone(UTC) - timedelta(days=days)).date()


def plan(
    terms: Terms,
    now: datetime,
    partitions: Iterable[Partition],
    tenants: Mapping[TenantId, Mapping[str, int]],
) -> Plan:
    """What of these partitions is past its term, for everybody and for tenants that have less kept."""
    kept = {content: first_kept(terms.days(content), now) for content in Content}
    there = sorted(partitions, key=lambda partition: (partition.of.day, partition.of.table))
    bodies = (
        one.of
        for one in there
        if one.of.table == "events"
        and not one.bare
        and kept[Content.EVENTS] <= one.of.day < kept[Content.PAYLOAD]
    )
    return Plan(_drops(kept, there), tuple(bodies), _thin(terms, now, tenants), kept[Content.DELIVERIES])


def _drops(kept: Mapping[Content, date], there: Iterable[Partition]) -> tuple[tuple[Day, ...], ...]:
    names = {one.of for one in there}
    days = sorted({one.day for one in names})
    groups = (
        tuple(one for table in tables if (one := Day(table, day)) in names)
        for day in days
        for content, tables in _TABLES.items()
        if day < kept[content]
    )
    return tuple(group for group in groups if group)


def _thin(terms: Terms, now: datetime, tenants: Mapping[TenantId, Mapping[str, int]]) -> tuple[Thin, ...]:
    thin: list[Thin] = []
    for tenant_id, own in sorted(tenants.items()):
        days = terms.shortened(own)
        shorter = [content for content in TENANTS_OWN if days[content] < terms.days(content)]
        if days[Content.PAYLOAD] == days[Content.EVENTS] and Content.EVENTS in shorter:
            shorter.remove(Content.PAYLOAD)  # it goes with its event
        thin += [Thin(tenant_id, content, first_kept(days[content], now)) for content in shorter]
    return tuple(thin)
