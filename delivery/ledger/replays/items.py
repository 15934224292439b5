"""The items of replay jobs: added, checked, listed. Changes need the job's lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.domain.ids import DeliveryId, EndpointId, EventId, ReplayId
from delivery.domain.pagination import Page
from delivery.domain.replay import ItemState, ReplayItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_ADD_ITEMS = text("""
    with enlisted as (
        insert into replay_items (replay_id, delivery_id, endpoint_id, event_id)
        select :replay, o.id, o.endpoint_id, o.event_id
        from unnest(cast(:ids as uuid[]), cast(:endpoints as uuid[]), cast(:events as uuid[]))
            as o (id, endpoint_id, event_id)
        on conflict do nothing returning 1
    )
    select count(*) from enlisted
""")
# A loose index scan: from endpoint to endpoint.
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
_COUNT_QUEUED = text("""
    select wanted.id as endpoint_id, found.number
    from unnest(cast(:endpoints as uuid[])) as wanted (id)
    cross join lateral (
        select count(*) as number from replay_items
        where replay_id = :replay and state = 'queued' and endpoint_id = wanted.id
    ) as found
""")
# A job's id comes from the joined row: with a constant, the planner would read all of the job's items.
_SETTLE_TEMPLATE = """
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
    _SETTLE_TEMPLATE.format(
        which="""
        select i.delivery_id, i.endpoint_id, i.state, i.attempts
        from unnest(cast(:endpoints as uuid[])) as wanted (id)
        join replay_items i on i.replay_id = :replay and i.state = 'queued' and i.endpoint_id = wanted.id
    """
    )
)
_SETTLE_RETRYING = text(
    _SETTLE_TEMPLATE.format(
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
_BY_DELIVERY = text("""
    select r.id, r.actor, r.reason, i.was_status, i.queued_at
    from replay_items i join replays r on r.id = i.replay_id
    where i.delivery_id = :delivery and r.tenant_id = :tenant and i.queued_at is not null
    order by i.queued_at desc limit :most
""")


@dataclass(frozen=True, slots=True)
class ItemStateChange:
    """A number of deliveries of a job that changed from one state to another."""

    before: ItemState
    after: ItemState
    count: int


@dataclass(frozen=True, slots=True)
class DeliveryReplay:
    """A job with a delivery; `was` is the delivery's status before, None: it was in flight anyway."""

    replay_id: ReplayId
    actor: str
    reason: str
    previous_status: str | None
    queued_at: datetime


async def add_items(
    tx: Transaction, replay_id: ReplayId, items: Sequence[tuple[UUID, EndpointId, EventId]]
) -> int:
    """Add deliveries to a job, each once; returns how many were new."""
    values = {
        "replay": replay_id,
        "ids": [one[0] for one in items],
        "endpoints": [one[1] for one in items],
        "events": [one[2] for one in items],
    }
    return int((await tx.execute(_ADD_ITEMS, values)).scalar_one()) if items else 0


async def find_endpoints(
    tx: Transaction, replay_id: ReplayId, state: ItemState, *, after: UUID, limit: int
) -> list[EndpointId]:
    """The endpoints after this one with deliveries in a state, in the order of their ids."""
    values = {"replay": replay_id, "state": state, "after": after, "most": limit}
    return [EndpointId(row.endpoint_id) for row in await tx.execute(_ENDPOINTS, values)]


async def count_queued(
    tx: Transaction, replay_id: ReplayId, endpoints: Sequence[EndpointId]
) -> dict[EndpointId, int]:
    """Count a job's queued deliveries, by endpoint."""
    rows = await tx.execute(_COUNT_QUEUED, {"replay": replay_id, "endpoints": list(endpoints)})
    return {EndpointId(row.endpoint_id): row.number for row in rows}


async def settle_queued(
    tx: Transaction, replay_id: ReplayId, endpoints: Sequence[EndpointId]
) -> list[ItemStateChange]:
    """Update the queued items of these endpoints from their deliveries."""
    rows = await tx.execute(_SETTLE_QUEUED, {"replay": replay_id, "endpoints": list(endpoints)})
    return _state_changes_from_rows(rows)


async def settle_retrying(
    tx: Transaction, replay_id: ReplayId, after: tuple[UUID, UUID], *, limit: int
) -> tuple[list[ItemStateChange], tuple[UUID, UUID] | None]:
    """Update some retrying items, and return where to continue; None: these were the last."""
    values = {"replay": replay_id, "endpoint": after[0], "delivery": after[1], "most": limit}
    rows = (await tx.execute(_SETTLE_RETRYING, values)).all()
    full = sum(row.number for row in rows) == limit
    last = max(((row.endpoint_id, row.delivery_id) for row in rows), default=None)
    return _state_changes_from_rows(rows), last if full else None


async def read_page(
    tx: Transaction, replay_id: ReplayId, state: ItemState | None, page_request: PageRequest
) -> Page[ReplayItem]:
    """The deliveries of a job, oldest first, as rows with an `id` to continue after."""
    values = {
        "replay": replay_id,
        "after": page_request.after,
        "state": state,
        "most": page_request.limit + 1,
    }
    found = Page.from_rows((await tx.execute(_PAGE, values)).all(), page_request)
    return Page(tuple(_item_from_row(row) for row in found.items), found.next_cursor)


async def read_by_delivery(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId, *, limit: int
) -> list[DeliveryReplay]:
    """The jobs that sent a delivery, newest first."""
    rows = await tx.execute(_BY_DELIVERY, {"delivery": delivery_id, "tenant": tenant_id, "most": limit})
    return [
        DeliveryReplay(ReplayId(row.id), row.actor, row.reason, row.was_status, row.queued_at) for row in rows
    ]


def _state_changes_from_rows(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[ItemStateChange]:
    return [
        ItemStateChange(ItemState(row.was), ItemState(row.state), row.number)
        for row in rows
        if row.was != row.state
    ]


def _item_from_row(row: Row[*tuple[Any, ...]]) -> ReplayItem:
    return ReplayItem(
        id=row.id,
        event_id=EventId(row.event_id),
        endpoint_id=EndpointId(row.endpoint_id),
        state=ItemState(row.state),
        reason=row.why,
        changed_at=row.changed_at,
    )
