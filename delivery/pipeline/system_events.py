"""Operational events: what the engine has to say to a tenant, delivered by the engine like any other event.

They go to the tenant's operational endpoints alone, and what happens to those is never an event itself: so
nothing can ever come of them but deliveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from delivery.domain.ids import Prefix, format_id, new_id
from delivery.ledger.queue import enqueue
from delivery.pipeline.fanout import FanoutPlan, Subscriptions, plan_fanout
from delivery.pipeline.parsing import NewEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.ledger.db.session import Transaction
    from delivery.ledger.records.journal import JournalEntry

SYSTEM_EVENT_TYPES = frozenset(
    {
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.breaker_opened",
        "endpoint.breaker_closed",
        "endpoint.disable_warning",
        "delivery.failed",
    }
)


async def publish_system_events(tx: Transaction, entries: Sequence[JournalEntry], *, now: datetime) -> None:
    """Write an event, with its deliveries, for each entry that a tenant's operational endpoints ask for.

    The entries are about endpoints that are not operational themselves. An event that nobody asks for is not
    written: the journal has what happened.
    """
    told = [entry for entry in entries if entry.action in SYSTEM_EVENT_TYPES]
    if not told:
        return
    wants = await enqueue.load_subscriptions(tx, {entry.tenant_id for entry in told}, operational=True)
    drafts: list[FanoutPlan] = []
    for entry in told:
        event = NewEvent(entry.action, msgspec.json.encode(_build_data(entry)))
        owed = Subscriptions.from_entries(wants.get(entry.tenant_id, [])).match_event(event)
        if owed:
            drafts.append(plan_fanout(entry.tenant_id, [event], [owed], single=True, now=now, new_id=new_id))
    if drafts:
        await enqueue.insert_events(
            tx,
            [row for drafted in drafts for row in drafted.events],
            [row for drafted in drafts for row in drafted.deliveries],
            now=now,
        )


def _build_data(entry: JournalEntry) -> dict[str, Any]:
    data: dict[str, Any] = {"at": entry.at, "actor": entry.actor, "reason": entry.reason}
    if entry.endpoint_id is not None:
        data["endpoint_id"] = format_id(Prefix.ENDPOINT, entry.endpoint_id)
    if entry.delivery_id is not None:
        data["delivery_id"] = format_id(Prefix.DELIVERY, entry.delivery_id)
    return data | dict(entry.details)
