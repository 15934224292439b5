"""Erasure: what an event or a response held is taken away for good; the fact is kept, with who and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from delivery.domain.errors import Conflict, NotFound
from delivery.domain.ids import Prefix, format_id
from delivery.domain.validation import check_reason
from delivery.ledger.records import attempts, events, journal
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.retention import erase
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.attempt import Attempt
    from delivery.domain.ids import AttemptId, EventId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.records.events import EventSummary

log = structlog.get_logger()

# Why a delivery ends that was still owed.
PAYLOAD_ERASED = "payload_erased"


class ErasureService:
    """What a tenant can have erased."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        """The clock tells when."""
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
        """Erase an event's body. Asked for again, nothing changes.

        Raises NotFound, and Conflict while it is still owed to somebody. With `cancel_pending` what is owed
        is cancelled; Conflict is raised then only while a worker has some of it, and nothing is changed.
        """
        entry = self._build_entry(tenant_id, "event.content_erased", actor, reason)
        cancelled = 0
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            # First, so that who asks at the same time waits here; what is refused is undone.
            if await erase.erase_event(tx, tenant_id, event_id, at=entry.at):
                cancelled = await _resolve_pending(tx, tenant_id, event_id, cancel_pending=cancel_pending)
                details = {"event_id": format_id(Prefix.EVENT, event_id), "cancelled": cancelled}
                await _append_entry(tx, replace(entry, details=details))
            found = await events.read(tx, tenant_id, event_id)
        if found is None:
            raise NotFound("event", format_id(Prefix.EVENT, event_id))
        if cancelled:
            metrics.count_ended("cancelled", cancelled)
        return found[0]

    async def erase_attempt(
        self, tenant_id: TenantId, attempt_id: AttemptId, *, reason: str | None = None, actor: Actor
    ) -> Attempt:
        """Erase the headers and the body of what came back. Asked for again, nothing changes.

        Raises NotFound.
        """
        entry = self._build_entry(tenant_id, "attempt.content_erased", actor, reason)
        shown = format_id(Prefix.ATTEMPT, attempt_id)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            erased = await erase.erase_attempt(tx, tenant_id, attempt_id, at=entry.at)
            told = await attempts.read(tx, tenant_id, attempt_id)
            if told is None:
                raise NotFound("attempt", shown)
            one, _ = told
            if erased:
                of_one = replace(entry, endpoint_id=one.endpoint_id, delivery_id=one.delivery_id)
                await _append_entry(tx, replace(of_one, details={"attempt_id": shown, "number": one.number}))
        return one

    def _build_entry(
        self, tenant_id: TenantId, action: str, actor: Actor, reason: str | None
    ) -> JournalEntry:
        return JournalEntry(
            tenant_id=tenant_id,
            action=action,
            actor=actor.name,
            address=actor.address,
            reason=check_reason(reason),
            at=self._clock(),
        )


async def _resolve_pending(
    tx: Transaction, tenant_id: TenantId, event_id: EventId, *, cancel_pending: bool
) -> int:
    """See to it that nothing is owed of an event any more; returns how many deliveries were cancelled."""
    owed = await erase.find_unfinished(tx, tenant_id, event_id)
    if not owed:
        return 0
    if not cancel_pending:
        raise Conflict(
            f"{_describe_pending(len(owed))} of this event that would have nothing to send. Wait until they are over, or "
            "ask again with cancel_pending: they are cancelled then."
        )
    ids = [one.delivery_id for one in owed]
    if any(one.in_flight for one in owed) or await erase.cancel(tx, ids, reason=PAYLOAD_ERASED) < len(ids):
        raise Conflict("A delivery of this event is being attempted just now. Ask again in a moment.")
    return len(ids)


def _describe_pending(count: int) -> str:
    return "There is 1 pending delivery" if count == 1 else f"There are {count:,} pending deliveries"


async def _append_entry(tx: Transaction, entry: JournalEntry) -> None:
    await journal.append(tx, [entry])
    log.info(entry.action, actor=entry.actor, **entry.details)
