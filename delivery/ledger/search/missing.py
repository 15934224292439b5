"""Events that an endpoint was never owed: it was made, or asked for them, only later."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, cast, false, func, select, true

from delivery.conditions import Answers, kept_condition
from delivery.ledger.scan import BODIES_AT_ONCE, follows, in_order, like, plan_for_this_tenant, scope_of
from delivery.ledger.tables import deliveries, events
from delivery.model import EventId, id_floor
from delivery.paging import Page
from delivery.payload import data_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from delivery.conditions import Condition
    from delivery.jobs import MissingSelection
    from delivery.ledger.session import Transaction
    from delivery.model import TenantId
    from delivery.paging import Cut

# Each event that is looked at costs a look into each day's deliveries since.
MOST_LOOKED_AT: Final = 2_000


@dataclass(frozen=True, slots=True)
class MissingEvent:
    """An event that was never owed to the endpoint."""

    id: EventId
    type: str
    created_at: datetime


async def page(
    tx: Transaction,
    tenant_id: TenantId,
    wanted: MissingSelection,
    cut: Cut,
    *,
    never: Collection[str],
) -> Page[MissingEvent]:
    """Events that are wanted and that the endpoint was never owed; none of the types in `never`.

    The page may hold fewer than asked for, even none, and have a `last` all the same: its cost is bounded.
    """
    if wanted.condition is None:
        return await _page(tx, tenant_id, wanted, cut, never=never)
    # Payloads are read by us: few at once.
    few = replace(cut, limit=min(cut.limit, BODIES_AT_ONCE))
    found = await _page(tx, tenant_id, wanted, few, never=never)
    return Page(tuple(await _that_hold(tx, found.items, kept_condition(wanted.condition))), found.last)


async def _page(
    tx: Transaction, tenant_id: TenantId, wanted: MissingSelection, cut: Cut, *, never: Collection[str]
) -> Page[MissingEvent]:
    """The events by type and channel, whatever they hold."""
    await plan_for_this_tenant(tx)
    scope = scope_of(events.c.id, cut, since=wanted.since, until=wanted.until)
    scope.append(events.c.tenant_id == tenant_id)
    on_channel: ColumnElement[bool] = true()
    if wanted.channels:
        shares = events.c.channels.bool_op("&&")(cast(list(wanted.channels), ARRAY(Text)))
        on_channel = func.coalesce(shares, false())
    seen = (
        select(
            events.c.id,
            events.c.type,
            events.c.created_at,
            events.c.body.is_not(None).label("kept"),
            on_channel.label("on_channel"),
        )
        .where(*scope)
        .order_by(in_order(events.c.id, cut))
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    is_owed = select(deliveries.c.id).where(
        deliveries.c.event_id == seen.c.id, deliveries.c.endpoint_id == wanted.endpoint_id
    )
    if cut.oldest_first:  # what is owed of an event was made after it: earlier days are left alone
        earliest = cut.after if wanted.since is None else max(cut.after, id_floor(wanted.since))
        is_owed = is_owed.where(follows(deliveries.c.id, earliest))
    query = (
        select(seen.c.id, seen.c.type, seen.c.created_at)
        .where(like(seen.c.type, list(wanted.types)), seen.c.type.not_in(list(never)))
        .where(seen.c.kept, seen.c.on_channel)
        .where(~is_owed.exists())
        .order_by(in_order(seen.c.id, cut))
        .limit(cut.limit + 1)
    )
    found = [MissingEvent(EventId(row.id), row.type, row.created_at) for row in await tx.execute(query)]
    whole = Page.of(found, cut)
    if whole.last is not None:
        return whole
    end = select(seen.c.id).order_by(in_order(seen.c.id, cut)).offset(MOST_LOOKED_AT - 1).limit(1)
    return Page(whole.items, (await tx.execute(end)).scalar_one_or_none())


async def _that_hold(
    tx: Transaction, found: Sequence[MissingEvent], condition: Condition
) -> list[MissingEvent]:
    """Those that meet the condition, and those for which it cannot be answered."""
    query = select(events.c.id, events.c.body).where(events.c.id.in_([one.id for one in found]))
    bodies = {row.id: row.body for row in await tx.execute(query)} if found else {}
    kept = []
    for one in found:
        body = bodies.get(one.id)
        if body is not None and Answers(data_of(body)).of(condition).holds:
            kept.append(one)
        await asyncio.sleep(0)  # a step of a job runs on the loop that delivers
    return kept
