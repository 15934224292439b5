"""What an operator does with messages that were set aside: looks, tries again, or lets go."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from delivery.domain.errors import Conflict, Invalid, NotFound, Refusal
from delivery.domain.ids import EventId, Prefix, format_id, parse_id
from delivery.domain.inbound_message import check_idempotency_key
from delivery.domain.pagination import MAX_ID, PageRequest
from delivery.domain.validation import check_reason
from delivery.ledger.records import dead_letters, journal
from delivery.ledger.records.journal import NO_TENANT, JournalEntry
from delivery.pipeline.parsing import parse_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from delivery.domain.accounts import Actor
    from delivery.domain.ids import MessageId, TenantId
    from delivery.domain.pagination import Page
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.records.dead_letters import DeadLetter
    from delivery.pipeline.intake import Intake

log = structlog.get_logger()

_BATCH_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class RetryResult:
    """The event that a message became; `replayed`: it had been accepted before, under the same key."""

    event_id: EventId
    deliveries: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of many messages: how many are seen to, and how many stay, since something refuses them."""

    done: int
    remaining: int


class DeadLetterService:
    """All tenants' together, for the operator alone: of some nobody knows whose they are."""

    def __init__(self, ledger: Ledger, intake: Intake, *, clock: Callable[[], datetime]) -> None:
        """The accepter is the one of the other doors."""
        self._ledger = ledger
        self._intake = intake
        self._clock = clock

    async def list_messages(self, page_request: PageRequest) -> Page[DeadLetter]:
        """What is set aside, newest first, without bodies."""
        async with self._ledger.transaction() as tx:
            return await dead_letters.read_page(tx, page_request)

    async def get_message(self, message_id: MessageId) -> DeadLetter:
        """One with its body; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await dead_letters.read(tx, message_id)
        if found is None:
            raise NotFound("message", format_id(Prefix.MESSAGE, message_id))
        return found

    async def retry_message(
        self,
        message_id: MessageId,
        *,
        tenant_id: TenantId | None = None,
        idempotency_key: str | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> RetryResult:
        """Accept a message as it is now allowed to be. Two who ask at once get the same event.

        `tenant_id` says whose it is where its key did not. `idempotency_key` stands in for its message-id;
        one that has none gets its own id as the key. Raises NotFound, Conflict, and what refuses an event:
        then it stays where it is.
        """
        reason = check_reason(reason)
        message = await self.get_message(message_id)
        whose = _resolve_tenant(message, tenant_id)
        if message.body is None or message.size > len(message.body):
            raise Conflict(f"Only the beginning of this message was kept: it had {message.size:,} bytes.")
        key = check_idempotency_key(
            "idempotency_key", idempotency_key or message.message_id or format_id(Prefix.MESSAGE, message_id)
        )
        accepted = await self._intake.accept_events(
            whose,
            (parse_event(message.body, self._intake.limits),),
            single=True,
            idempotency_key=key,
            request_sha256=hashlib.sha256(message.body).digest(),
        )
        told = msgspec.json.decode(accepted.response_body)
        await self._remove_message(message, "message.retried", whose, actor, reason, event_id=told["id"])
        event_id = EventId(parse_id(Prefix.EVENT, told["id"]))
        return RetryResult(event_id, told["deliveries"], accepted.replayed)

    async def discard_message(
        self, message_id: MessageId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """Delete a message for good; who and why is kept. Raises NotFound."""
        reason = check_reason(reason)
        message = await self.get_message(message_id)
        await self._remove_message(message, "message.discarded", message.tenant_id, actor, reason)

    async def retry_matching(
        self,
        reason_contains: str,
        *,
        tenant_id: TenantId | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> BatchResult:
        """Retry each whose reason has these words, in any case; what still refuses one leaves it there."""

        async def one(id_: MessageId) -> object:
            return await self.retry_message(id_, tenant_id=tenant_id, reason=reason, actor=actor)

        return await self._apply_to_matching(reason_contains, one)

    async def discard_matching(
        self, reason_contains: str, *, reason: str | None = None, actor: Actor
    ) -> BatchResult:
        """Discard each whose reason has these words, in any case."""
        return await self._apply_to_matching(
            reason_contains, lambda id_: self.discard_message(id_, reason=reason, actor=actor)
        )

    async def _apply_to_matching(
        self, reason_contains: str, action: Callable[[MessageId], Awaitable[object]]
    ) -> BatchResult:
        """Those that are there at the beginning, newest first, one after another."""
        done = left = 0
        before: UUID | None = MAX_ID
        while before is not None:
            page = await self.list_messages(PageRequest(_BATCH_SIZE, before=before))
            for message in page.items:
                if reason_contains.casefold() not in message.reason.casefold():
                    continue
                try:
                    await action(message.id)
                except Refusal:
                    left += 1
                else:
                    done += 1
            before = page.next_cursor
        return BatchResult(done, left)

    async def _remove_message(
        self,
        message: DeadLetter,
        what: str,
        tenant_id: TenantId | None,
        actor: Actor,
        reason: str | None,
        **more: str,
    ) -> None:
        told = {"message": format_id(Prefix.MESSAGE, message.id), "refused": message.reason, **more}
        entry = JournalEntry(
            tenant_id or NO_TENANT,
            what,
            actor.name,
            self._clock(),
            reason,
            details=told,
            address=actor.address,
        )
        async with self._ledger.transaction() as tx:
            if await dead_letters.delete(tx, message.id):
                await journal.append(tx, [entry])
        log.info(what, id=told["message"], actor=actor.name)


def _resolve_tenant(message: DeadLetter, tenant_id: TenantId | None) -> TenantId:
    """The tenant of its key, or the one that is named where that is not known. Raises Invalid."""
    if message.tenant_id is None:
        if tenant_id is None:
            raise Invalid("tenant_id", "is needed: the message did not tell whose it is")
        return tenant_id
    if tenant_id not in {None, message.tenant_id}:
        raise Invalid("tenant_id", "is not the tenant whose key the message carried")
    return message.tenant_id
