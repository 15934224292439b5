"""Deletes expired rows within days that stay: payloads, and data of tenants with shorter periods.

Each statement changes up to 1,000 rows that it finds by an index, and skips locked rows: the caller repeats
it. Unfinished deliveries and their events are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from delivery.domain.ids import EndpointId, ReplayId, TenantId

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import TextClause

    from delivery.ledger.db.session import Transaction

PRUNE_BATCH_SIZE = 1_000
# Endpoints per statement that deletes attempts.
ENDPOINT_BATCH_SIZE = 100
# Unfinished events held in memory at once.
MAX_OWED_EVENTS = 50_000
NIL_UUID = UUID(int=0)

_TENANT_RETENTION = text("select id, retention from tenants where retention is not null")
# Reads all unfinished deliveries, but seldom: an index would cost every claim.
_OWED_EVENTS = text("""
    select distinct event_id from schedule
    where event_id > :after and event_id < :before order by event_id limit :most
""")
_PAGE = text("""
    select id, body is not null as full from events
    where id > :after and id < :before order by id limit :most
""")
_PAGE_OF_TENANT = text("""
    select id, body is not null as full from events
    where tenant_id = :tenant and id > :after and id < :before order by id limit :most
""")
# By key only: with the range's bounds as well, the planner would read the range.
_CHOSEN_CTE = """
    with chosen as materialized (
        select e.id from unnest(cast(:ids as uuid[])) as wanted (id)
        join events e on e.id = wanted.id
        for update of e skip locked
    )
"""
_PRUNE_BODIES = text(f"""
    {_CHOSEN_CTE}
    update events e set body = null from chosen where e.id = chosen.id
""")  # noqa: S608  put together from our own text
_PRUNE_EVENTS = text(f"""
    {_CHOSEN_CTE}
    delete from events e using chosen where e.id = chosen.id
""")  # noqa: S608  put together from our own text
# A delivery's own row is pending until it is finished, and a replay locks that row.
_PRUNE_DELIVERIES = text("""
    with looked as materialized (
        select id, endpoint_id, sequence, status from deliveries
        where tenant_id = :tenant and id > :after and id < :before
        order by id limit :most for update skip locked
    ), over as materialized (
        select * from looked where status <> 'pending'
    ), unlisted as (
        delete from failures f using over where f.delivery_id = over.id
    ), unnumbered as (
        delete from endpoint_sequence s using over
        where s.endpoint_id = over.endpoint_id and s.sequence = over.sequence and s.delivery_id = over.id
    ), gone as (
        delete from deliveries d using over where d.id = over.id returning 1
    )
    select (select count(*) from looked) as looked, (select count(*) from gone) as changed,
           (select id from looked order by id desc limit 1) as last
""")
_ENDPOINTS = text("""
    select id from endpoints where tenant_id = :tenant and id > :after order by id limit :most
""")
_PRUNE_ATTEMPTS = text("""
    with old as materialized (
        select a.id from unnest(cast(:endpoints as uuid[])) as wanted (id)
        cross join lateral (
            select id from attempts where endpoint_id = wanted.id and id < :before order by id limit :most
        ) as a
        limit :most
    )
    delete from attempts using old where attempts.id = old.id
""")
_OLD_REPLAY = text("""
    select id from replays
    where id < :floor and finished_at < :before and state in ('finished', 'cancelled')
    order by id limit 1
""")
_OLD_REPLAY_OF_TENANT = text("""
    select id from replays
    where tenant_id = :tenant and id < :floor and finished_at < :before
      and state in ('finished', 'cancelled')
    order by id limit 1
""")
_PRUNE_ITEMS = text("""
    with few as materialized (
        select delivery_id from replay_items where replay_id = :replay order by delivery_id limit :most
    )
    delete from replay_items i using few
    where i.replay_id = :replay and i.delivery_id = few.delivery_id
""")
_DELETE_REPLAY = text("delete from replays where id = :replay")


@dataclass(frozen=True, slots=True)
class IdRange:
    """A range of ids, both ends excluded; of one tenant, or of all."""

    after: UUID
    before: UUID
    tenant_id: TenantId | None = None


@dataclass(frozen=True, slots=True)
class PruneStep:
    """The result of a statement: rows read, rows changed, and the last id read.

    `spared` is the first row that has to wait, because it is unfinished or locked.
    """

    scanned: int
    changed: int
    last_id: UUID
    first_skipped: UUID | None = None

    @property
    def is_full(self) -> bool:
        """Whether there may be more after it."""
        return self.scanned == PRUNE_BATCH_SIZE


async def load_tenant_retention(tx: Transaction) -> dict[TenantId, dict[str, int]]:
    """The retention periods of tenants with their own."""
    return {TenantId(row.id): dict(row.retention) for row in await tx.execute(_TENANT_RETENTION)}


async def find_owed_events(
    tx: Transaction, id_range: IdRange, *, limit: int = MAX_OWED_EVENTS
) -> tuple[set[UUID], UUID]:
    """The unfinished events in this range, and the id up to which these are all."""
    values = {"after": id_range.after, "before": id_range.before, "most": limit}
    found = (await tx.execute(_OWED_EVENTS, values)).scalars().all()
    return set(found), found[-1] if len(found) == limit else id_range.before


async def prune_bodies(tx: Transaction, id_range: IdRange, *, owed: Collection[UUID]) -> PruneStep:
    """Delete the bodies of the first events in a range; the rest of their rows stays."""
    return await _prune_events(tx, _PRUNE_BODIES, id_range, owed)


async def prune_events(tx: Transaction, id_range: IdRange, *, owed: Collection[UUID]) -> PruneStep:
    """Delete the first events in a range."""
    return await _prune_events(tx, _PRUNE_EVENTS, id_range, owed)


async def prune_deliveries(tx: Transaction, id_range: IdRange) -> PruneStep:
    """Delete the first finished deliveries in a tenant's range, with their rows in other tables."""
    values = {
        "tenant": id_range.tenant_id,
        "after": id_range.after,
        "before": id_range.before,
        "most": PRUNE_BATCH_SIZE,
    }
    row = (await tx.execute(_PRUNE_DELIVERIES, values)).one()
    return PruneStep(row.looked, row.changed, row.last or id_range.before)


async def read_endpoint_ids(tx: Transaction, tenant_id: TenantId, *, after: UUID) -> list[EndpointId]:
    """The next endpoints of a tenant, deleted ones too."""
    values = {"tenant": tenant_id, "after": after, "most": ENDPOINT_BATCH_SIZE}
    return [EndpointId(row.id) for row in await tx.execute(_ENDPOINTS, values)]


async def prune_attempts(tx: Transaction, endpoint_ids: Sequence[EndpointId], *, before: UUID) -> int:
    """Delete these endpoints' attempts before this id; returns how many."""
    values = {"endpoints": list(endpoint_ids), "before": before, "most": PRUNE_BATCH_SIZE}
    return (await tx.execute(_PRUNE_ATTEMPTS, values)).rowcount


async def find_old_replay(
    tx: Transaction, *, floor: UUID, before: datetime, tenant_id: TenantId | None = None
) -> ReplayId | None:
    """A replay job that ended before this time; `floor` is the smallest id of that time."""
    query = _OLD_REPLAY if tenant_id is None else _OLD_REPLAY_OF_TENANT
    values = {"floor": floor, "before": before} | ({"tenant": tenant_id} if tenant_id else {})
    found = (await tx.execute(query, values)).scalar_one_or_none()
    return None if found is None else ReplayId(found)


async def prune_replay(tx: Transaction, replay_id: ReplayId) -> bool:
    """Delete up to 1,000 items of a replay job; with the last ones the job is deleted: True."""
    values = {"replay": replay_id, "most": PRUNE_BATCH_SIZE}
    if (await tx.execute(_PRUNE_ITEMS, values)).rowcount == PRUNE_BATCH_SIZE:
        return False
    await tx.execute(_DELETE_REPLAY, values)
    return True


async def _prune_events(
    tx: Transaction, statement: TextClause, id_range: IdRange, owed: Collection[UUID]
) -> PruneStep:
    query = _PAGE if id_range.tenant_id is None else _PAGE_OF_TENANT
    values = {"after": id_range.after, "before": id_range.before, "most": PRUNE_BATCH_SIZE}
    page = (
        await tx.execute(query, values | ({"tenant": id_range.tenant_id} if id_range.tenant_id else {}))
    ).all()
    last = page[-1].id if page else id_range.before
    wanted = [row.id for row in page if row.full or statement is _PRUNE_EVENTS]
    chosen = [id_ for id_ in wanted if id_ not in owed]
    spared = next((id_ for id_ in wanted if id_ in owed), None)
    if not chosen:
        return PruneStep(len(page), 0, last, spared)
    changed = (await tx.execute(statement, {"ids": chosen})).rowcount
    return PruneStep(len(page), changed, last, spared if changed == len(chosen) else wanted[0])
