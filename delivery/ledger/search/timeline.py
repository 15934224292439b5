"""Reads for timelines: endpoints as they were, deleted ones too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.domain.ids import EndpointId, build_min_id
from delivery.ledger.db.bounded_scan import MAX_CLOCK_SKEW

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Transaction

_REPEATABLE_READ = text("set transaction isolation level repeatable read, read only")
_NOW = text("select clock_timestamp()")
_COLUMNS = """
    id, url, filter, channels, condition, operational, cardinality(schedule_seconds) as attempts,
    updated_at, deleted_at
"""
_ENDPOINTS = text(f"""
    select {_COLUMNS} from endpoints where tenant_id = :tenant and id = any (cast(:ids as uuid[])) order by id
""")  # noqa: S608  a constant
_OTHERS = text(f"""
    select {_COLUMNS} from endpoints
    where tenant_id = :tenant and created_at <= :at and (deleted_at is null or deleted_at > :at)
      and not operational and id <> all (cast(:known as uuid[]))
    order by id limit :most
""")  # noqa: S608  a constant
_COUNT_CREATED_LATER = text("""
    select count(*) from endpoints
    where tenant_id = :tenant and created_at > :at and deleted_at is null and not operational
""")
# Changes of subscriptions are in the journal; the first change of a part after a time
# tells its value at that time.
_CHANGES = text("""
    select changed.endpoint_id, changed.at, part.name as part, changed.details -> part.name -> 'was' as was
    from unnest(cast(:ids as uuid[])) as wanted (id)
    cross join unnest(array['filter', 'channels', 'condition']) as part (name)
    cross join lateral (
        select endpoint_id, at, details from journal
        where endpoint_id = wanted.id and tenant_id = :tenant and id >= :floor
          and what = 'endpoint.changed' and at > :at and details -> part.name is not null
        order by id limit 1
    ) as changed
""")


@dataclass(frozen=True, slots=True)
class TracedEndpoint:
    """An endpoint in a timeline; it may be deleted. `attempts` None: the default schedule."""

    id: EndpointId
    url: str
    filter: tuple[str, ...]
    operational: bool
    attempts: int | None
    updated_at: datetime
    deleted_at: datetime | None
    channels: tuple[str, ...] = ()
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """A change of a part of an endpoint's subscription, with the value before.

    `part` is `filter`, `channels` or `condition`.
    """

    endpoint_id: EndpointId
    at: datetime
    previous: tuple[str, ...] | str | None
    part: str = "filter"


async def begin_snapshot(tx: Transaction) -> datetime:
    """Make all statements of this unstarted transaction see one snapshot; returns its time."""
    await tx.execute(_REPEATABLE_READ)
    now: datetime = (await tx.execute(_NOW)).scalar_one()
    return now


async def read_endpoints(
    tx: Transaction, tenant_id: TenantId, endpoint_ids: Collection[EndpointId]
) -> list[TracedEndpoint]:
    """These endpoints, in the order of their ids."""
    values = {"tenant": tenant_id, "ids": list(endpoint_ids)}
    return [_endpoint_from_row(row) for row in await tx.execute(_ENDPOINTS, values)]


async def find_other_endpoints(
    tx: Transaction, tenant_id: TenantId, *, at: datetime, excluded_ids: Collection[EndpointId], limit: int
) -> list[TracedEndpoint]:
    """The endpoints for events that existed at this time, except the known ones, oldest first."""
    values = {"tenant": tenant_id, "at": at, "known": list(excluded_ids), "most": limit}
    return [_endpoint_from_row(row) for row in await tx.execute(_OTHERS, values)]


async def count_created_later(tx: Transaction, tenant_id: TenantId, *, at: datetime) -> int:
    """Count the endpoints for events that were created after this time and exist now."""
    return int((await tx.execute(_COUNT_CREATED_LATER, {"tenant": tenant_id, "at": at})).scalar_one())


async def find_subscription_changes(
    tx: Transaction, tenant_id: TenantId, endpoint_ids: Collection[EndpointId], *, at: datetime
) -> list[SubscriptionChange]:
    """For each of these endpoints, the first change of each part of its subscription after this time."""
    values = {
        "tenant": tenant_id,
        "ids": list(endpoint_ids),
        "at": at,
        "floor": build_min_id(at - MAX_CLOCK_SKEW),
    }
    return [
        SubscriptionChange(
            EndpointId(row.endpoint_id),
            row.at,
            tuple(row.was) if isinstance(row.was, list) else row.was,
            row.part,
        )
        for row in await tx.execute(_CHANGES, values)
    ]


def _endpoint_from_row(row: Row[*tuple[Any, ...]]) -> TracedEndpoint:
    return TracedEndpoint(
        id=EndpointId(row.id),
        url=row.url,
        filter=tuple(row.filter),
        operational=row.operational,
        attempts=row.attempts,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
        channels=tuple(row.channels or ()),
        condition=row.condition,
    )
