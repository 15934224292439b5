"""Events that an endpoint was never owed: it was made, or asked for their type, only later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from delivery.ledger.scan import follows, in_order, like, plan_for_this_tenant, scope_of
from delivery.ledger.tables import deliveries, events
from delivery.model import EventId, id_floor
from delivery.paging import Page

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

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
    types: Collection[str],
    never: Collection[str],
) -> Page[MissingEvent]:
    """Events of these types (patterns) that the endpoint was never owed; none of the types in `never`.

    The page may hold fewer than asked for, even none, and have a `last` all the same: its cost is bounded.
    """
    await plan_for_this_tenant(tx)
    scope = scope_of(events.c.id, cut, since=wanted.since, until=wanted.until)
    scope.append(events.c.tenant_id == tenant_id)
    seen = (
        select(events.c.id, events.c.type, events.c.created_at, events.c.body.is_not(None).label("kept"))
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
        .where(like(seen.c.type, list(types)), seen.c.type.not_in(list(never)), seen.c.kept)
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
