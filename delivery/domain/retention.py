"""Retention periods, and the plan of what has expired. Pure.

Periods are whole days, and days are those of the partitions: UTC, from midnight. A day has expired when all
of it has.
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
    """The kinds of data with a retention period of their own."""

    PAYLOAD = "payload"
    ATTEMPTS = "attempts"
    DELIVERIES = "deliveries"
    EVENTS = "events"
    JOURNAL = "journal"


# The kinds that a tenant may shorten. The journal belongs to the operator: it tells who did what.
TENANT_CONFIGURABLE: Final = (
    RetainedData.PAYLOAD,
    RetainedData.ATTEMPTS,
    RetainedData.DELIVERIES,
    RetainedData.EVENTS,
)
# Data that is useless without the other kind.
CONTAINED_IN: Final = {
    RetainedData.PAYLOAD: RetainedData.EVENTS,
    RetainedData.ATTEMPTS: RetainedData.DELIVERIES,
}
# The indexes of deliveries are dropped after them, on the same day.
DELIVERY_TABLES: Final = ("deliveries", "failures", "endpoint_sequence")
_TABLES: Final = {
    RetainedData.EVENTS: ("events",),
    RetainedData.ATTEMPTS: ("attempts",),
    RetainedData.DELIVERIES: DELIVERY_TABLES,
    RetainedData.JOURNAL: ("journal",),
}


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """For how many days each kind of data is kept."""

    payload: int
    attempts: int
    deliveries: int
    events: int
    journal: int

    def get_days(self, data: RetainedData) -> int:
        """The period of this kind of data in days."""
        return int(getattr(self, data))

    def apply_tenant_periods(self, tenant_periods: Mapping[str, int] | None) -> dict[RetainedData, int]:
        """A tenant's periods: its own where shorter; no data outlasts the data that contains it."""
        days = {
            content: min(self.get_days(content), (tenant_periods or {}).get(content, self.get_days(content)))
            for content in TENANT_CONFIGURABLE
        }
        for part, container in CONTAINED_IN.items():
            days[part] = min(days[part], days[container])
        return days


@dataclass(frozen=True, slots=True)
class DayPartition:
    """The partition of a history table for one day."""

    table: str
    day: date

    @property
    def name(self) -> str:
        """The name of the partition's table."""
        return f"{self.table}_{self.day:%Y%m%d}"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """An existing partition. `payloads_removed`: a run found no payload left that could be removed."""

    partition: DayPartition
    payloads_removed: bool = False


@dataclass(frozen=True, slots=True)
class TenantPrune:
    """Delete one tenant's data of a kind that was created before this day."""

    tenant_id: TenantId
    data: RetainedData
    before: date


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What has expired, oldest first.

    Each of `drops` is one day of one kind of data, with its tables in the order in which they are dropped.
    `payload_days` are days of events that lose their payloads, `tenant_prunes` are due to shorter periods of
    tenants, and replay jobs that ended before `replays_before` are deleted.
    """

    drops: tuple[tuple[DayPartition, ...], ...]
    payload_days: tuple[DayPartition, ...]
    tenant_prunes: tuple[TenantPrune, ...]
    replays_before: date


def apply_period_changes(
    current: Mapping[str, int], changes: Mapping[str, int | None] | None, operator_periods: RetentionPeriods
) -> dict[str, int]:
    """A tenant's own periods after a change: None removes one, or all of them.

    Raises Invalid for an unknown kind of data, and for a period longer than the operator's.
    """
    if changes is None:
        return {}
    for name, days in changes.items():
        if name not in TENANT_CONFIGURABLE:
            raise Invalid(f"retention.{name}", f"is not one of {', '.join(TENANT_CONFIGURABLE)}")
        maximum = operator_periods.get_days(RetainedData(name))
        if days is not None and not 1 <= days <= maximum:
            raise Invalid(
                f"retention.{name}", f"must be from 1 to {maximum} days, which is the operator's period"
            )
    return {name: days for name, days in {**current, **changes}.items() if days is not None}


def compute_oldest_kept_day(days: int, now: datetime) -> date:
    """The oldest day with data that is not older than this many days."""
    return (now.astimezone(UTC) - timedelta(days=days)).date()


def build_plan(
    periods: RetentionPeriods,
    now: datetime,
    partitions: Iterable[PartitionState],
    tenants: Mapping[TenantId, Mapping[str, int]],
) -> RetentionPlan:
    """Plan what has expired, by the operator's periods and by shorter ones of tenants."""
    oldest_days = {
        content: compute_oldest_kept_day(periods.get_days(content), now) for content in RetainedData
    }
    states = sorted(partitions, key=lambda partition: (partition.partition.day, partition.partition.table))
    payload_days = (
        state.partition
        for state in states
        if state.partition.table == "events"
        and not state.payloads_removed
        and oldest_days[RetainedData.EVENTS] <= state.partition.day < oldest_days[RetainedData.PAYLOAD]
    )
    return RetentionPlan(
        _plan_drops(oldest_days, states),
        tuple(payload_days),
        _plan_tenant_prunes(periods, now, tenants),
        oldest_days[RetainedData.DELIVERIES],
    )


def _plan_drops(
    oldest_days: Mapping[RetainedData, date], states: Iterable[PartitionState]
) -> tuple[tuple[DayPartition, ...], ...]:
    names = {state.partition for state in states}
    days = sorted({partition.day for partition in names})
    groups = (
        tuple(partition for table in tables if (partition := DayPartition(table, day)) in names)
        for day in days
        for content, tables in _TABLES.items()
        if day < oldest_days[content]
    )
    return tuple(group for group in groups if group)


def _plan_tenant_prunes(
    periods: RetentionPeriods, now: datetime, tenants: Mapping[TenantId, Mapping[str, int]]
) -> tuple[TenantPrune, ...]:
    prunes: list[TenantPrune] = []
    for tenant_id, own in sorted(tenants.items()):
        days = periods.apply_tenant_periods(own)
        shorter = [content for content in TENANT_CONFIGURABLE if days[content] < periods.get_days(content)]
        if days[RetainedData.PAYLOAD] == days[RetainedData.EVENTS] and RetainedData.EVENTS in shorter:
            shorter.remove(RetainedData.PAYLOAD)  # it goes with its event
        prunes += [
            TenantPrune(tenant_id, content, compute_oldest_kept_day(days[content], now))
            for content in shorter
        ]
    return tuple(prunes)
