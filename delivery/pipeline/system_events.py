"""System events: what the engine tells a tenant, delivered like any other event.

They are sent to the tenant's operational endpoints only. Those cause no system events themselves, so that
system events cannot cause others.
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
    """Write an event with its deliveries for each entry that an operational endpoint subscribes to.

    The entries must not be about operational endpoints. An event without a subscriber is not written: the
    journal has the entry.
    """
    published = [entry for entry in entries if entry.action in SYSTEM_EVENT_TYPES]
    if not published:
        return
    tenant_ids = {entry.tenant_id for entry in published}
    subscriptions = await enqueue.load_subscriptions(tx, tenant_ids, operational=True)
    plans: list[FanoutPlan] = []
    for entry in published:
        event = NewEvent(entry.action, msgspec.json.encode(_build_data(entry)))
        matches = Subscriptions.from_entries(subscriptions.get(entry.tenant_id, [])).match_event(event)
        if matches:
            plans.append(
                plan_fanout(entry.tenant_id, [event], [matches], single=True, now=now, new_id=new_id)
            )
    if plans:
        await enqueue.insert_events(
            tx,
            [row for plan in plans for row in plan.events],
            [row for plan in plans for row in plan.deliveries],
            now=now,
        )


def _build_data(entry: JournalEntry) -> dict[str, Any]:
    data: dict[str, Any] = {"at": entry.at, "actor": entry.actor, "reason": entry.reason}
    if entry.endpoint_id is not None:
        data["endpoint_id"] = format_id(Prefix.ENDPOINT, entry.endpoint_id)
    if entry.delivery_id is not None:
        data["delivery_id"] = format_id(Prefix.DELIVERY, entry.delivery_id)
    return data | dict(entry.details)
