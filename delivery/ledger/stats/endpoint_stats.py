"""Counts for one endpoint's health view: waiting deliveries, and its last attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.ids import DeliveryId, extract_id_time
from delivery.ledger.db.bounded_scan import force_custom_plan
from retries.outcome import INTERNAL_OUTCOMES, Delivered, label_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction

# Ids are compared as text, letter by letter: PostgreSQL knows no smallest uuid before release 18.
_BACKLOG = text("""
    select clock_timestamp() as now, count(*) as waiting,
           cast(min(cast(delivery_id as text) collate "C") as uuid) as oldest,
           cast(max(cast(delivery_id as text) collate "C") as uuid) as newest,
           count(*) filter (where due_at <= statement_timestamp()) as due,
           cast(min(cast(delivery_id as text) collate "C")
                filter (where due_at <= statement_timestamp()) as uuid) as oldest_due
    from unnest(cast(:lanes as smallint[])) as lanes (lane)
    cross join lateral (
        select delivery_id, due_at from schedule
        where lane = lanes.lane and endpoint_id = :endpoint and claim_id is null
        order by due_at limit cast(:most as bigint)
    ) as looked
""")
# A join, not a list: each id is looked up in its own partition only.
_CREATED_AT = text("""
    select d.id, d.created_at
    from unnest(cast(:ids as uuid[])) as wanted (id) join deliveries d on d.id = wanted.id
""")
# One row extra proves that there are more. Attempts interrupted by us say nothing about the endpoint.
_ATTEMPTS = text("""
    with newest as materialized (
        select outcome, total_us, row_number() over (order by id desc) as place
        from attempts
        where endpoint_id = :endpoint and tenant_id = :tenant and id >= :since
              and outcome <> all (cast(:ours as text[]))
        order by id desc limit :most + 1
    )
    select count(*) filter (where place <= :most) as attempts,
           count(*) filter (where place <= :most and outcome = :delivered) as succeeded,
           count(*) > :most as sampled,
           percentile_disc(array[0.5, 0.95, 0.99]) within group (order by total_us)
               filter (where place <= :most) as latencies
    from newest
""")


@dataclass(frozen=True, slots=True)
class OwedDelivery:
    """One waiting delivery and its creation time."""

    id: DeliveryId
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndpointBacklog:
    """An endpoint's unclaimed deliveries, at this time by the ledger's clock.

    `due` counts those that are due now; the others are due later. `bounded`: there may be more, since only
    the first due rows were read.
    """

    now: datetime
    waiting: int
    oldest: OwedDelivery | None
    newest: OwedDelivery | None
    due: int
    oldest_due: OwedDelivery | None
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class RecentAttempts:
    """The results of the newest attempts. `sampled`: there were more; latencies are None without attempts."""

    attempts: int
    succeeded: int
    sampled: bool
    p50: timedelta | None
    p95: timedelta | None
    p99: timedelta | None

    @property
    def success_ratio(self) -> float | None:
        """From 0 to 1; None without attempts."""
        return self.succeeded / self.attempts if self.attempts else None


async def read_backlog(
    tx: Transaction, endpoint_id: EndpointId, *, limit_per_lane: int | None = None
) -> EndpointBacklog:
    """Count an endpoint's waiting deliveries. Reads each row, up to `most` per priority."""
    values = {"endpoint": endpoint_id, "lanes": list(map(int, Priority)), "most": limit_per_lane}
    row = (await tx.execute(_BACKLOG, values)).one()
    ends = {id_ for id_ in (row.oldest, row.newest, row.oldest_due) if id_ is not None}
    owed = await _load_owed(tx, ends)
    return EndpointBacklog(
        now=row.now,
        waiting=row.waiting,
        oldest=owed.get(row.oldest),
        newest=owed.get(row.newest),
        due=row.due,
        oldest_due=owed.get(row.oldest_due),
        bounded=limit_per_lane is not None and row.waiting >= limit_per_lane,
    )


async def read_recent_attempts(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, since: UUID, limit: int
) -> RecentAttempts:
    """Summarize the newest `most` attempts of an endpoint whose id is not before `since`."""
    await force_custom_plan(tx)
    row = (
        await tx.execute(
            _ATTEMPTS,
            {
                "endpoint": endpoint_id,
                "tenant": tenant_id,
                "since": since,
                "most": limit,
                "delivered": label_outcome(Delivered(200)),
                "ours": list(INTERNAL_OUTCOMES),
            },
        )
    ).one()
    return _recent_from_row(row)


async def _load_owed(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID | None, OwedDelivery]:
    wanted = list(ids)
    if not wanted:
        return {}
    made = {row.id: row.created_at for row in await tx.execute(_CREATED_AT, {"ids": wanted})}
    return {id_: OwedDelivery(DeliveryId(id_), made.get(id_) or extract_id_time(id_)) for id_ in wanted}


def _recent_from_row(row: Row[*tuple[Any, ...]]) -> RecentAttempts:
    latencies = [None if us is None else timedelta(microseconds=us) for us in row.latencies or (None,) * 3]
    return RecentAttempts(row.attempts, row.succeeded, row.sampled, *latencies)
