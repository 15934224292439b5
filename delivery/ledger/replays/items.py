"""The deliveries of replay jobs: enlisted, looked at again, shown. Whoever changes them holds the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.jobs import Item, ItemState
from delivery.model import DeliveryId, EndpointId, EventId, ReplayId
from delivery.paging import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.model import TenantId
    from delivery.paging import Cut

_ENLIST = text("""
    with enlisted as (
        insert into replay_items (replay_id, delivery_id, endpoint_id, event_id)
        select :replay, o.id, o.endpoint_id, o.event_id
        from unnest(cast(:ids as uuid[]), cast(:endpoints as uuid[]), cast(:events as uuid[]))
            as o (id, endpoint_id, event_id)
        on conflict do nothing returning 1
    )
    select count(*) from enlisted
""")
# A loose index scan: from endpoint to endpoint, whatever lies between.
_ENDPOINTS = text("""
    with recursive turn as (
        (select endpoint_id from replay_items
         where replay_id = :replay and state = :state and endpoint_id > :after
         order by endpoint_id limit 1)
        union all
        select following.endpoint_id from turn cross join lateral (
            select endpoint_id from replay_items
            where replay_id = :replay and state = :state and endpoint_id > turn.endpoint_id
            order by endpoint_id limit 1
        ) as following
    )
    select endpoint_id from turn limit :most
""")
_QUEUED = text("""
    select wanted.id as endpoint_id, found.number
    from unnest(cast(:endpoints as uuid[])) as wanted (id)
    cross join lateral (
        select count(*) as number from replay_items
        where replay_id = :replay and state = 'queued' and endpoint_id = wanted.id
    ) as found
""")
# A job's id comes from the row that is joined: as a constant it would have all of the job's items read.
_SETTLE = """
    with looked as materialized ({which}), stands as materialized (
        select cast(:replay as uuid) as replay_id, looked.delivery_id,
               looked.endpoint_id, looked.state as was,
               case when s.delivery_id is not null
                    then case when s.attempts > looked.attempts then 'retrying' else looked.state end
                    when d.id is null then 'skipped'
                    when d.status = 'pending' then looked.state
                    else d.status end as state,
               case when s.delivery_id is not null then null
                    when d.id is null then 'delivery_gone' else d.reason end as why
        from looked
        left join schedule s on s.delivery_id = looked.delivery_id
        left join deliveries d on d.id = looked.delivery_id and s.delivery_id is null
    ), moved as (
        update replay_items i set state = stands.state, why = stands.why, changed_at = clock_timestamp()
        from stands
        where i.replay_id = stands.replay_id and i.delivery_id = stands.delivery_id
          and stands.state <> stands.was
    )
    select was, state, count(*) as number,
           (array_agg(endpoint_id order by endpoint_id desc, delivery_id desc))[1] as endpoint_id,
           (array_agg(delivery_id order by endpoint_id desc, delivery_id desc))[1] as delivery_id
    from stands group by was, state
"""
_SETTLE_QUEUED = text(
    _SETTLE.format(
        which="""
        select i.delivery_id, i.endpoint_id, i.state, i.attempts
        from unnest(cast(:endpoints as uuid[])) as wanted (id)
        join replay_items i on i.replay_id = :replay and i.state = 'queued' and i.endpoint_id = wanted.id
    """
    )
)
_SETTLE_RETRYING = text(
    _SETTLE.format(
        which="""
        select delivery_id, endpoint_id, state, attempts from replay_items
        where replay_id = :replay and state = 'retrying'
          and (endpoint_id, delivery_id) > (cast(:endpoint as uuid), cast(:delivery as uuid))
        order by endpoint_id, delivery_id limit :most
    """
    )
)
_PAGE = text("""
    select delivery_id as id, endpoint_id, event_id, state, why, changed_at from replay_items
    where replay_id = :replay and delivery_id > :after
      and (cast(:state as text) is null or state = :state)
    order by delivery_id limit :most
""")
_OF_DELIVERY = text("""
    select r.id, r.actor, r.reason, i.was_status, i.queued_at
    from replay_items i join replays r on r.id = i.replay_id
    where i.delivery_id = :delivery and r.tenant_id = :tenant and i.queued_at is not null
    order by i.queued_at desc limit :most
""")


@dataclass(frozen=True, slots=True)
class Moved:
    """So many deliveries of a job came from one state into another."""

    before: ItemState
    after: ItemState
    count: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """A job that a delivery was in; `was` is how the delivery stood, None: it was on its way anyway."""

    replay_id: ReplayId
    actor: str
    reason: str
    was: str | None
    queued_at: datetime


async def enlist(
    tx: Transaction, replay_id: ReplayId, some: Sequence[tuple[UUID, EndpointId, EventId]]
) -> int:
    """Put deliveries on a job's list, each once; returns how many are new on it."""
    values = {
        "replay": replay_id,
        "ids": [one[0] for one in some],
        "endpoints": [one[1] for one in some],
        "events": [one[2] for one in some],
    }
    return int((await tx.execute(_ENLIST, values)).scalar_one()) if some else 0


async def endpoints_of(
    tx: Transaction, replay_id: ReplayId, state: ItemState, *, after: UUID, most: int
) -> list[EndpointId]:
    """The endpoints behind this one that have deliveries in a state, in the order of their ids."""
    values = {"replay": replay_id, "state": state, "after": after, "most": most}
    return [EndpointId(row.endpoint_id) for row in await tx.execute(_ENDPOINTS, values)]


async def queued(
    tx: Transaction, replay_id: ReplayId, endpoints: Sequence[EndpointId]
) -> dict[EndpointId, int]:
    """How many deliveries of these endpoints are in the lane for a job."""
    rows = await tx.execute(_QUEUED, {"replay": replay_id, "endpoints": list(endpoints)})
    return {EndpointId(row.endpoint_id): row.number for row in rows}


async def settle_queued(tx: Transaction, replay_id: ReplayId, endpoints: Sequence[EndpointId]) -> list[Moved]:
    """See what came of those of these endpoints that are in the lane."""
    rows = await tx.execute(_SETTLE_QUEUED, {"replay": replay_id, "endpoints": list(endpoints)})
    return _moved(rows)


async def settle_retrying(
    tx: Transaction, replay_id: ReplayId, place: tuple[UUID, UUID], *, most: int
) -> tuple[list[Moved], tuple[UUID, UUID] | None]:
    """See what came of some that are retried, and where to go on looking; None: these were the last."""
    values = {"replay": replay_id, "endpoint": place[0], "delivery": place[1], "most": most}
    rows = (await tx.execute(_SETTLE_RETRYING, values)).all()
    full = sum(row.number for row in rows) == most
    last = max(((row.endpoint_id, row.delivery_id) for row in rows), default=None)
    return _moved(rows), last if full else None


async def page(tx: Transaction, replay_id: ReplayId, state: ItemState | None, cut: Cut) -> Page[Item]:
    """The deliveries of a job, oldest first, as rows with an `id` to go on behind."""
    values = {"replay": replay_id, "after": cut.after, "state": state, "most": cut.limit + 1}
    found = Page.of((await tx.execute(_PAGE, values)).all(), cut)
    return Page(tuple(_item(row) for row in found.items), found.last)


async def of_delivery(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId, *, most: int
) -> list[Replayed]:
    """The jobs that sent a delivery, newest first."""
    rows = await tx.execute(_OF_DELIVERY, {"delivery": delivery_id, "tenant": tenant_id, "most": most})
    return [Replayed(ReplayId(row.id), row.actor, row.reason, row.was_status, row.queued_at) for row in rows]


def _moved(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[Moved]:
    return [
        Moved(ItemState(row.was), ItemState(row.state), row.number) for row in rows if row.was != row.state
    ]


def _item(row: Row[*tuple[Any, ...]]) -> Item:
    return Item(
        id=row.id,
        event_id=EventId(row.event_id),
        endpoint_id=EndpointId(row.endpoint_id),
        state=ItemState(row.state),
        why=row.why,
        changed_at=row.changed_at,
    )
