"""How long things are kept, and what of a ledger is past its term. Pure.

Terms are whole days, and days are those of the partitions: by UTC, from midnight. A day is past a term when
all of it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from delivery.domain.ids import TenantId


class RetainedData(StrEnum):
    """What has a term of its own."""

    PAYLOAD = "payload"
    ATTEMPTS = "attempts"
    DELIVERIES = "deliveries"
    EVENTS = "events"
    JOURNAL = "journal"


# Of what a tenant may have less kept. The journal is the operator's own: it tells who did what.
TENANT_CONFIGURABLE: Final = (
    RetainedData.PAYLOAD,
    RetainedData.ATTEMPTS,
    RetainedData.DELIVERIES,
    RetainedData.EVENTS,
)
# What is no use without the other.
CONTAINED_IN: Final = {
    RetainedData.PAYLOAD: RetainedData.EVENTS,
    RetainedData.ATTEMPTS: RetainedData.DELIVERIES,
}
# What finds deliveries goes after them, on the same day.
DELIVERY_TABLES: Final = ("deliveries", "failures", "endpoint_sequence")
_TABLES: Final = {
    RetainedData.EVENTS: ("events",),
    RetainedData.ATTEMPTS: ("attempts",),
    RetainedData.DELIVERIES: DELIVERY_TABLES,
    RetainedData.JOURNAL: ("journal",),
}


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """For how many days each kind of content is kept."""

    payload: int
    attempts: int
    deliveries: int
    events: int
    journal: int

    def get_days(self, data: RetainedData) -> int:
        """For how many days this is kept."""
        return int(getattr(self, data))

    def apply_tenant_periods(self, tenant_periods: Mapping[str, int] | None) -> dict[RetainedData, int]:
        """A tenant's terms: its own where they are shorter; no part outlasts what it is a part of."""
        days = {
            content: min(self.get_days(content), (tenant_periods or {}).get(content, self.get_days(content)))
            for content in TENANT_CONFIGURABLE
        }
        for part, whole in CONTAINED_IN.items():
            days[part] = min(days[part], days[whole])
        return days


@dataclass(frozen=True, slots=True)
class DayPartition:
    """The partition of a history table for one day."""

    table: str
    day: date

    @property
    def name(self) -> str:
        """What the partition is called."""
        return f"{self.table}_{self.day:%Y%m%d}"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition that there is. `bare`: a run has found no payload in it that could still go."""

    partition: DayPartition
    payloads_removed: bool = False


@dataclass(frozen=True, slots=True)
class TenantPrune:
    """What one tenant has of a kind of content goes where it was made before this day."""

    tenant_id: TenantId
    data: RetainedData
    before: date


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What is past its term, oldest first.

    Each of `drops` is one day of one kind of content, its tables in the order in which they go; `bodies` are
    days of events that lose their payloads, `thin` is what tenants have less kept of, and replay jobs that
    ended before `replays` are forgotten.
    """

    drops: tuple[tuple[DayPartition, ...], ...]
    payload_days: tuple[DayPartition, ...]
    tenant_prunes: tuple[TenantPrune, ...]
    replays_before: date


def apply_period_changes(
    current: Mapping[str, int], changes: Mapping[str, int | None] | None, operator_periods: RetentionPeriods
) -> dict[str, int]:
    """A tenant's own terms after a change: None takes one away, or all of them; what is not named stays.

    Raises Invalid naming the one that nobody can have, or that is longer than the operator's.
    """
    if changes is None:
        return {}
    for name, days in changes.items():
        if name not in TENANT_CONFIGURABLE:
            raise Invalid(f"retention.{name}", f"is not one of {', '.join(TENANT_CONFIGURABLE)}")
        most = operator_periods.get_days(RetainedData(name))
        if days is not None and not 1 <= days <= most:
            raise Invalid(f"retention.{name}", f"must be from 1 to {most} days, which is the operator's term")
    return {name: days for name, days in {**current, **changes}.items() if days is not None}


def compute_oldest_kept_day(days: int, now: datetime) -> date:
    """The oldest day of which something is not older than so many days."""
    return (now.astimezone(UTC) - timedelta(days=days)).date()


def build_plan(
    periods: RetentionPeriods,
    now: datetime,
    partitions: Iterable[PartitionState],
    tenants: Mapping[TenantId, Mapping[str, int]],
) -> RetentionPlan:
    """What of these partitions is past its term, for everybody and for tenants that have less kept."""
    kept = {content: compute_oldest_kept_day(periods.get_days(content), now) for content in RetainedData}
    there = sorted(partitions, key=lambda partition: (partition.partition.day, partition.partition.table))
    bodies = (
        one.partition
        for one in there
        if one.partition.table == "events"
        and not one.payloads_removed
        and kept[RetainedData.EVENTS] <= one.partition.day < kept[RetainedData.PAYLOAD]
    )
    return RetentionPlan(
        _plan_drops(kept, there),
        tuple(bodies),
        _plan_tenant_prunes(periods, now, tenants),
        kept[RetainedData.DELIVERIES],
    )


def _plan_drops(
    kept: Mapping[RetainedData, date], there: Iterable[PartitionState]
) -> tuple[tuple[DayPartition, ...], ...]:
    names = {one.partition for one in there}
    days = sorted({one.day for one in names})
    groups = (
        tuple(one for table in tables if (one := DayPartition(table, day)) in names)
        for day in days
        for content, tables in _TABLES.items()
        if day < kept[content]
    )
    return tuple(group for group in groups if group)


def _plan_tenant_prunes(
    terms: RetentionPeriods, now: datetime, tenants: Mapping[TenantId, Mapping[str, int]]
) -> tuple[TenantPrune, ...]:
    thin: list[TenantPrune] = []
    for tenant_id, own in sorted(tenants.items()):
        days = terms.apply_tenant_periods(own)
        shorter = [content for content in TENANT_CONFIGURABLE if days[content] < terms.get_days(content)]
        if days[RetainedData.PAYLOAD] == days[RetainedData.EVENTS] and RetainedData.EVENTS in shorter:
            shorter.remove(RetainedData.PAYLOAD)  # it goes with its event
        thin += [
            TenantPrune(tenant_id, content, compute_oldest_kept_day(days[content], now))
            for content in shorter
        ]
    return tuple(thin)
