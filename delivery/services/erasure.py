"""Erasure: the content of an event or a response is removed for good; who erased it and why stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delivery.domain.errors import Conflict
from delivery.domain.ids import Prefix, format_id, require_found
from delivery.domain.validation import check_reason
from delivery.ledger.records import attempts, events, journal
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.retention import erase
from delivery.log import get_logger
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.attempt import Attempt
    from delivery.domain.ids import AttemptId, EventId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.records.events import EventSummary

log = get_logger()

# The reason of deliveries that are cancelled by an erasure.
PAYLOAD_ERASED = "payload_erased"


class ErasureService:
    """Erases content of a tenant."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock

    async def erase_event(
        self,
        tenant_id: TenantId,
        event_id: EventId,
        *,
        cancel_pending: bool = False,
        reason: str | None = None,
        actor: Actor,
    ) -> EventSummary:
        """Erase an event's body; erasing it again changes nothing.

        Raises NotFound, and Conflict while deliveries of it are pending. With `cancel_pending` they are
        cancelled, and Conflict is raised only while a worker has one; nothing is changed then.
        """
        reason, now = check_reason(reason), self._clock()
        cancelled = 0
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            # Erased first, so that concurrent requests wait here; a refusal rolls it back.
            if await erase.erase_event(tx, tenant_id, event_id, at=now):
                cancelled = await _resolve_pending(tx, tenant_id, event_id, cancel_pending=cancel_pending)
                details = {"event_id": format_id(Prefix.EVENT, event_id), "cancelled": cancelled}
                entry = JournalEntry.by_actor(
                    tenant_id, "event.content_erased", actor, at=now, reason=reason, details=details
                )
                await _append_entry(tx, entry)
            event, _ = require_found(await events.read(tx, tenant_id, event_id), Prefix.EVENT, event_id)
        if cancelled:
            metrics.count_ended("cancelled", cancelled)
        return event

    async def erase_attempt(
        self, tenant_id: TenantId, attempt_id: AttemptId, *, reason: str | None = None, actor: Actor
    ) -> Attempt:
        """Erase the headers and the body of a response; erasing them again changes nothing.

        Raises NotFound.
        """
        reason, now = check_reason(reason), self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            erased = await erase.erase_attempt(tx, tenant_id, attempt_id, at=now)
            row = await attempts.read(tx, tenant_id, attempt_id)
            attempt, _ = require_found(row, Prefix.ATTEMPT, attempt_id)
            if erased:
                details: dict[str, Any] = {
                    "attempt_id": format_id(Prefix.ATTEMPT, attempt_id),
                    "number": attempt.number,
                }
                entry = JournalEntry.by_actor(
                    tenant_id,
                    "attempt.content_erased",
                    actor,
                    at=now,
                    reason=reason,
                    endpoint_id=attempt.endpoint_id,
                    delivery_id=attempt.delivery_id,
                    details=details,
                )
                await _append_entry(tx, entry)
        return attempt


async def _resolve_pending(
    tx: Transaction, tenant_id: TenantId, event_id: EventId, *, cancel_pending: bool
) -> int:
    """Cancel the event's pending deliveries, or raise Conflict; returns how many were cancelled."""
    pending = await erase.find_unfinished(tx, tenant_id, event_id)
    if not pending:
        return 0
    if not cancel_pending:
        raise Conflict(
            f"{_describe_pending(len(pending))} of this event that would have nothing to send. Wait until "
            "they are over, or ask again with cancel_pending: they are cancelled then."
        )
    ids = [delivery.delivery_id for delivery in pending]
    in_flight = any(delivery.in_flight for delivery in pending)
    if in_flight or await erase.cancel(tx, ids, reason=PAYLOAD_ERASED) < len(ids):
        raise Conflict("A delivery of this event is being attempted just now. Ask again in a moment.")
    return len(ids)


def _describe_pending(count: int) -> str:
    return "There is 1 pending delivery" if count == 1 else f"There are {count:,} pending deliveries"


async def _append_entry(tx: Transaction, entry: JournalEntry) -> None:
    await journal.append(tx, [entry])
    log.info(entry.action, actor=entry.actor, **entry.details)
