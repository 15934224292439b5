"""What an operator does with messages that were set aside: looks, tries again, or lets go."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from delivery.accept import parse_event
from delivery.checks import checked_reason
from delivery.errors import Conflict, Invalid, NotFound, Refusal
from delivery.ingest.message import checked_key
from delivery.ledger import journal, messages
from delivery.ledger.journal import NOBODYS, Entry
from delivery.model import EventId, Prefix, parse_id, show_id
from delivery.paging import NEWEST, Cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from delivery.accept import Accepter
    from delivery.ledger import Ledger
    from delivery.ledger.messages import RefusedMessage
    from delivery.model import Actor, MessageId, TenantId
    from delivery.paging import Page

log = structlog.get_logger()

_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Retried:
    """The event that a message became; `replayed`: it had been accepted before, under the same key."""

    event_id: EventId
    deliveries: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Many:
    """What came of many messages: how many are seen to, and how many stay, since something refuses them."""

    done: int
    left: int


class RefusedMessages:
    """All tenants' together, for the operator alone: of some nobody knows whose they are."""

    def __init__(self, ledger: Ledger, accepter: Accepter, *, clock: Callable[[], datetime]) -> None:
        """The accepter is the one of the other doors."""
        self._ledger = ledger
        self._accepter = accepter
        self._clock = clock

    async def page(self, cut: Cut) -> Page[RefusedMessage]:
        """What is set aside, newest first, without bodies."""
        async with self._ledger.transaction() as tx:
            return await messages.page(tx, cut)

    async def read(self, id_: MessageId) -> RefusedMessage:
        """One with its body; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await messages.read(tx, id_)
        if found is None:
            raise NotFound("message", show_id(Prefix.MESSAGE, id_))
        return found

    async def retry(
        self,
        id_: MessageId,
        *,
        tenant_id: TenantId | None = None,
        idempotency_key: str | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> Retried:
        """Accept a message as it is now allowed to be. Two who ask at once get the same event.

        `tenant_id` says whose it is where its key did not. `idempotency_key` stands in for its message-id;
        one that has none gets its own id as the key. Raises NotFound, Conflict, and what refuses an event:
        then it stays where it is.
        """
        reason = checked_reason(reason)
        message = await self.read(id_)
        whose = _whose(message, tenant_id)
        if message.body is None or message.size > len(message.body):
            raise Conflict(f"Only the beginning of this message was kept: it had {message.size:,} bytes.")
        key = checked_key(
            "idempotency_key", idempotency_key or message.message_id or show_id(Prefix.MESSAGE, id_)
        )
        accepted = await self._accepter.accept(
            whose,
            (parse_event(message.body, self._accepter.limits),),
            single=True,
            idempotency_key=key,
            request_sha256=hashlib.sha256(message.body).digest(),
        )
        told = msgspec.json.decode(accepted.answer)
        await self._end(message, "message.retried", whose, actor, reason, event_id=told["id"])
        event_id = EventId(parse_id(Prefix.EVENT, told["id"]))
        return Retried(event_id, told["deliveries"], accepted.replayed)

    async def discard(self, id_: MessageId, *, reason: str | None = None, actor: Actor) -> None:
        """Delete a message for good; who and why is kept. Raises NotFound."""
        reason = checked_reason(reason)
        message = await self.read(id_)
        await self._end(message, "message.discarded", message.tenant_id, actor, reason)

    async def retry_many(
        self, like: str, *, tenant_id: TenantId | None = None, reason: str | None = None, actor: Actor
    ) -> Many:
        """Retry each whose reason has these words, in any case; what still refuses one leaves it there."""

        async def one(id_: MessageId) -> object:
            return await self.retry(id_, tenant_id=tenant_id, reason=reason, actor=actor)

        return await self._each(like, one)

    async def discard_many(self, like: str, *, reason: str | None = None, actor: Actor) -> Many:
        """Discard each whose reason has these words, in any case."""
        return await self._each(like, lambda id_: self.discard(id_, reason=reason, actor=actor))

    async def _each(self, like: str, see_to: Callable[[MessageId], Awaitable[object]]) -> Many:
        """Those that are there at the beginning, newest first, one after another."""
        done = left = 0
        before: UUID | None = NEWEST
        while before is not None:
            page = await self.page(Cut(_AT_ONCE, before=before))
            for message in page.items:
                if like.casefold() not in message.reason.casefold():
                    continue
                try:
                    await see_to(message.id)
                except Refusal:
                    left += 1
                else:
                    done += 1
            before = page.last
        return Many(done, left)

    async def _end(
        self,
        message: RefusedMessage,
        what: str,
        whose: TenantId | None,
        actor: Actor,
        reason: str | None,
        **more: str,
    ) -> None:
        told = {"message": show_id(Prefix.MESSAGE, message.id), "refused": message.reason, **more}
        entry = Entry(
            whose or NOBODYS, what, actor.name, self._clock(), reason, details=told, address=actor.address
        )
        async with self._ledger.transaction() as tx:
            if await messages.take_off(tx, message.id):
                await journal.append(tx, [entry])
        log.info(what, id=told["message"], actor=actor.name)


def _whose(message: RefusedMessage, named: TenantId | None) -> TenantId:
    """The tenant of its key, or the one that is named where that is not known. Raises Invalid."""
    if message.tenant_id is None:
        if named is None:
            raise Invalid("tenant_id", "is needed: the message did not tell whose it is")
        return named
    if named not in {None, message.tenant_id}:
        raise Invalid("tenant_id", "is not the tenant whose key the message carried")
    return message.tenant_id
