"""Dead letters, for the operator: list, retry or discard messages that were not accepted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from delivery.domain.errors import Conflict, Invalid, Refusal
from delivery.domain.ids import EventId, Prefix, format_id, parse_id, require_found
from delivery.domain.inbound_message import check_idempotency_key
from delivery.domain.pagination import MAX_ID, PageRequest
from delivery.domain.validation import check_reason
from delivery.ledger.records import dead_letters, journal
from delivery.ledger.records.journal import JournalEntry
from delivery.log import get_logger
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

log = get_logger()

_BATCH_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class RetryResult:
    """The event that a message became. `replayed`: it had been accepted before, under the same key."""

    event_id: EventId
    deliveries: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many messages were retried or discarded, and how many were refused again and stay."""

    done: int
    remaining: int


class DeadLetterService:
    """Messages of all tenants, since the tenant of some is unknown. For the operator alone."""

    def __init__(self, ledger: Ledger, intake: Intake, *, clock: Callable[[], datetime]) -> None:
        """`intake` is the one that API and sources use."""
        self._ledger = ledger
        self._intake = intake
        self._clock = clock

    async def list_messages(self, page_request: PageRequest) -> Page[DeadLetter]:
        """List messages without bodies, newest first."""
        async with self._ledger.transaction() as tx:
            return await dead_letters.read_page(tx, page_request)

    async def get_message(self, message_id: MessageId) -> DeadLetter:
        """Read a message with its body; raises NotFound."""
        async with self._ledger.transaction() as tx:
            return require_found(await dead_letters.read(tx, message_id), Prefix.MESSAGE, message_id)

    async def retry_message(
        self,
        message_id: MessageId,
        *,
        tenant_id: TenantId | None = None,
        idempotency_key: str | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> RetryResult:
        """Accept a message under today's rules. Concurrent retries get the same event.

        `tenant_id` is needed where the message's key did not tell its tenant. `idempotency_key` replaces its
        message-id; a message with neither gets its own id as the key. Raises NotFound, Conflict, and what
        refuses an event; the message then stays.
        """
        reason = check_reason(reason)
        message = await self.get_message(message_id)
        owner = _resolve_tenant(message, tenant_id)
        if message.body is None or message.size > len(message.body):
            raise Conflict(f"Only the beginning of this message is stored: it had {message.size:,} bytes.")
        public_id = format_id(Prefix.MESSAGE, message_id)
        accepted = await self._intake.accept_events(
            owner,
            (parse_event(message.body, self._intake.limits),),
            single=True,
            idempotency_key=check_idempotency_key(
                "idempotency_key", idempotency_key or message.message_id or public_id
            ),
            request_sha256=hashlib.sha256(message.body).digest(),
        )
        response = msgspec.json.decode(accepted.response_body)
        await self._remove_message(message, "message.retried", owner, actor, reason, event_id=response["id"])
        event_id = EventId(parse_id(Prefix.EVENT, response["id"]))
        return RetryResult(event_id, response["deliveries"], accepted.replayed)

    async def discard_message(
        self, message_id: MessageId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """Delete a message for good; the journal keeps who did it and why. Raises NotFound."""
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
        """Retry the messages whose refusal contains this text, in any case."""

        async def retry_one(id_: MessageId) -> object:
            return await self.retry_message(id_, tenant_id=tenant_id, reason=reason, actor=actor)

        return await self._apply_to_matching(reason_contains, retry_one)

    async def discard_matching(
        self, reason_contains: str, *, reason: str | None = None, actor: Actor
    ) -> BatchResult:
        """Discard the messages whose refusal contains this text, in any case."""
        return await self._apply_to_matching(
            reason_contains, lambda id_: self.discard_message(id_, reason=reason, actor=actor)
        )

    async def _apply_to_matching(
        self, reason_contains: str, action: Callable[[MessageId], Awaitable[object]]
    ) -> BatchResult:
        """Apply an action to the messages that exist now, newest first, one after the other."""
        done = refused = 0
        before: UUID | None = MAX_ID
        while before is not None:
            page = await self.list_messages(PageRequest(_BATCH_SIZE, before=before))
            for message in page.items:
                if reason_contains.casefold() not in message.reason.casefold():
                    continue
                try:
                    await action(message.id)
                except Refusal:
                    refused += 1
                else:
                    done += 1
            before = page.next_cursor
        return BatchResult(done, refused)

    async def _remove_message(
        self,
        message: DeadLetter,
        action: str,
        tenant_id: TenantId | None,
        actor: Actor,
        reason: str | None,
        **details: str,
    ) -> None:
        public_id = format_id(Prefix.MESSAGE, message.id)
        details = {"message": public_id, "refused": message.reason, **details}
        entry = JournalEntry.by_actor(
            tenant_id, action, actor, at=self._clock(), reason=reason, details=details
        )
        async with self._ledger.transaction() as tx:
            if await dead_letters.delete(tx, message.id):
                await journal.append(tx, [entry])
        log.info(action, id=public_id, actor=actor.name)


def _resolve_tenant(message: DeadLetter, tenant_id: TenantId | None) -> TenantId:
    """The tenant of the message's key, or the one given where that is unknown. Raises Invalid."""
    if message.tenant_id is None:
        if tenant_id is None:
            raise Invalid("tenant_id", "is needed: the message has no key that identifies its tenant")
        return tenant_id
    if tenant_id not in {None, message.tenant_id}:
        raise Invalid("tenant_id", "is not the tenant of the message's key")
    return message.tenant_id
