"""What goes within days that stay: payloads past their term, and what tenants have less kept of.

Each statement takes up to 1,000 rows that it finds by an index, and skips rows that somebody else has just
locked: the caller comes again. Nothing is taken that is still owed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from delivery.model import EndpointId, ReplayId, TenantId

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import TextClause

    from delivery.ledger.session import Transaction

AT_ONCE = 1_000
# Of so many endpoints attempts are looked for at once.
ENDPOINTS_AT_ONCE = 100
# As many events that are still owed are kept in mind at once.
OWED_AT_ONCE = 50_000
NIL = UUID(int=0)

_TENANTS = text("select id, retention from tenants where retention is not null")
# Reads all that is owed, but seldom: no claim has to pay for an index.
_OWED = text("""
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
# By key alone: with bounds of the span beside it, the planner would read the span.
_CHOSEN = """
    with chosen as materialized (
        select e.id from unnest(cast(:ids as uuid[])) as wanted (id)
        join events e on e.id = wanted.id
        for update of e skip locked
    )
"""
_EMPTY = text(f"""
    {_CHOSEN}
    update events e set body = null from chosen where e.id = chosen.id
""")  # noqa: S608  put together from our own text
_FORGET_EVENTS = text(f"""
    {_CHOSEN}
    delete from events e using chosen where e.id = chosen.id
""")  # noqa: S608  put together from our own text
# A delivery is pending in its own row while it is owed, and whoever asks for it again locks that row.
_FORGET_DELIVERIES = text("""
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
_FORGET_ATTEMPTS = text("""
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
_FORGET_ITEMS = text("""
    with few as materialized (
        select delivery_id from replay_items where replay_id = :replay order by delivery_id limit :most
    )
    delete from replay_items i using few
    where i.replay_id = :replay and i.delivery_id = few.delivery_id
""")
_FORGET_REPLAY = text("delete from replays where id = :replay")


@dataclass(frozen=True, slots=True)
class Span:
    """Ids behind one and before another; of one tenant, or of all."""

    after: UUID
    before: UUID
    tenant_id: TenantId | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What a statement did: how many rows it looked at, how many it changed, and the last that it saw.

    `spared` is the first that has to wait, because it is owed or somebody else is at it.
    """

    looked: int
    changed: int
    last: UUID
    spared: UUID | None = None

    @property
    def full(self) -> bool:
        """Whether there may be more behind it."""
        return self.looked == AT_ONCE


async def tenants_terms(tx: Transaction) -> dict[TenantId, dict[str, int]]:
    """The terms of tenants that have some of their own."""
    return {TenantId(row.id): dict(row.retention) for row in await tx.execute(_TENANTS)}


async def owed_events(tx: Transaction, span: Span) -> tuple[set[UUID], UUID]:
    """Events of this span that are still owed to somebody, and up to where that is all of them."""
    values = {"after": span.after, "before": span.before, "most": OWED_AT_ONCE}
    found = (await tx.execute(_OWED, values)).scalars().all()
    return set(found), found[-1] if len(found) == OWED_AT_ONCE else span.before


async def forget_bodies(tx: Transaction, span: Span, *, owed: Collection[UUID]) -> Step:
    """Let the first events of a span lose their bodies; all that is told of them otherwise stays."""
    return await _of_events(tx, _EMPTY, span, owed)


async def forget_events(tx: Transaction, span: Span, *, owed: Collection[UUID]) -> Step:
    """Delete the first events of a span."""
    return await _of_events(tx, _FORGET_EVENTS, span, owed)


async def forget_deliveries(tx: Transaction, span: Span) -> Step:
    """Delete the first deliveries of a tenant's span that are over, with what finds them."""
    values = {"tenant": span.tenant_id, "after": span.after, "before": span.before, "most": AT_ONCE}
    row = (await tx.execute(_FORGET_DELIVERIES, values)).one()
    return Step(row.looked, row.changed, row.last or span.before)


async def endpoints_of(tx: Transaction, tenant_id: TenantId, *, after: UUID) -> list[EndpointId]:
    """The next endpoints of a tenant, deleted ones too."""
    values = {"tenant": tenant_id, "after": after, "most": ENDPOINTS_AT_ONCE}
    return [EndpointId(row.id) for row in await tx.execute(_ENDPOINTS, values)]


async def forget_attempts(tx: Transaction, endpoints: Sequence[EndpointId], *, before: UUID) -> int:
    """Delete attempts at these endpoints that were made before this id; returns how many."""
    values = {"endpoints": list(endpoints), "before": before, "most": AT_ONCE}
    return (await tx.execute(_FORGET_ATTEMPTS, values)).rowcount


async def old_replay(
    tx: Transaction, *, floor: UUID, before: datetime, tenant_id: TenantId | None = None
) -> ReplayId | None:
    """A replay job that ended before this moment; `floor` is the smallest id of that moment."""
    query = _OLD_REPLAY if tenant_id is None else _OLD_REPLAY_OF_TENANT
    values = {"floor": floor, "before": before} | ({"tenant": tenant_id} if tenant_id else {})
    found = (await tx.execute(query, values)).scalar_one_or_none()
    return None if found is None else ReplayId(found)


async def forget_replay(tx: Transaction, replay_id: ReplayId) -> bool:
    """Take up to 1,000 deliveries off a replay job's list; with the last of them the job goes: True."""
    values = {"replay": replay_id, "most": AT_ONCE}
    if (await tx.execute(_FORGET_ITEMS, values)).rowcount == AT_ONCE:
        return False
    await tx.execute(_FORGET_REPLAY, values)
    return True


async def _of_events(tx: Transaction, change: TextClause, span: Span, owed: Collection[UUID]) -> Step:
    query = _PAGE if span.tenant_id is None else _PAGE_OF_TENANT
    values = {"after": span.after, "before": span.before, "most": AT_ONCE}
    page = (await tx.execute(query, values | ({"tenant": span.tenant_id} if span.tenant_id else {}))).all()
    last = page[-1].id if page else span.before
    wanted = [row.id for row in page if row.full or change is _FORGET_EVENTS]
    chosen = [id_ for id_ in wanted if id_ not in owed]
    spared = next((id_ for id_ in wanted if id_ in owed), None)
    if not chosen:
        return Step(len(page), 0, last, spared)
    changed = (await tx.execute(change, {"ids": chosen})).rowcount
    return Step(len(page), changed, last, spared if changed == len(chosen) else wanted[0])
