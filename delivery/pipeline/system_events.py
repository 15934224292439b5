"""Operational events: what the engine has to say to a tenant, delivered by the engine like any other event.

They go to the tenant's operational endpoints alone, and what happens to those is never an event itself: so
nothing can ever come of them but deliveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from delivery.accept.draft import Draft, Subscriptions, draft
from delivery.accept.parse import NewEvent
from delivery.ledger import accepting
from delivery.model import Prefix, new_id, show_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.ledger import Transaction
    from delivery.ledger.journal import Entry

TYPES = frozenset(
    {
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.breaker_opened",
        "endpoint.breaker_closed",
        "endpoint.disable_warning",
        "delivery.failed",
    }
)


async def tell(tx: Transaction, entries: Sequence[Entry], *, now: datetime) -> None:
    """Write an event, with its deliveries, for each entry that a tenant's operational endpoints ask for.

    The entries are about endpoints that are not operational themselves. An event that nobody asks for is not
    written: the journal has what happened.
    """
    told = [entry for entry in entries if entry.what in TYPES]
    if not told:
        return
    wants = await accepting.wants(tx, {entry.tenant_id for entry in told}, operational=True)
    drafts: list[Draft] = []
    for entry in told:
        event = NewEvent(entry.what, msgspec.json.encode(_data(entry)))
        owed = Subscriptions.of(wants.get(entry.tenant_id, [])).owed(event)
        if owed:
            drafts.append(draft(entry.tenant_id, [event], [owed], single=True, now=now, new_id=new_id))
    if drafts:
        await accepting.insert(
            tx,
            [row for drafted in drafts for row in drafted.events],
            [row for drafted in drafts for row in drafted.deliveries],
            now=now,
        )


def _data(entry: Entry) -> dict[str, Any]:
    data: dict[str, Any] = {"at": entry.at, "actor": entry.actor, "reason": entry.reason}
    if entry.endpoint_id is not None:
        data["endpoint_id"] = show_id(Prefix.ENDPOINT, entry.endpoint_id)
    if entry.delivery_id is not None:
        data["delivery_id"] = show_id(Prefix.DELIVERY, entry.delivery_id)
    return data | dict(entry.details)
