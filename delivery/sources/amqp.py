"""Takes messages: each becomes an event, or is set aside with the reason."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import structlog

from delivery import metrics
from delivery.accept import parse_event
from delivery.errors import Invalid, NotAuthenticated, Refusal, ScopeMissing, TooLarge, Unavailable
from delivery.ingest.message import KEY_HEADER, MOST_KEPT, Message, storable
from delivery.ledger import messages
from delivery.ledger.messages import RefusedMessage
from delivery.model import MessageId, Prefix, new_id, show_id
from delivery.scopes import Scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.accept import Accepter
    from delivery.keys import Keys
    from delivery.ledger import Ledger
    from delivery.model import ApiKey

log = structlog.get_logger()


class Ingest:
    """What the queue's consumer does with a message. Messages that are taken together share commits."""

    def __init__(
        self, ledger: Ledger, accepter: Accepter, keys: Keys, *, clock: Callable[[], datetime]
    ) -> None:
        """Nothing runs until the first message."""
        self._ledger = ledger
        self._accepter = accepter
        self._keys = keys
        self._clock = clock

    async def take(self, message: Message) -> bool:
        """Accept a message, or set it aside: False. Either is committed: it may be acknowledged then.

        Raises Unavailable when the ledger does not answer: whether it was taken is not known. Taken again,
        it is the same event, for as long as idempotency keys are remembered.
        """
        key: ApiKey | None = None
        try:
            key = await self._key_of(message)
            if Scope.PUBLISH not in key.scopes:
                raise ScopeMissing([Scope.PUBLISH], [Scope.PUBLISH])  # noqa: TRY301  set aside as the others
            await self._accept(message, key)
        except Unavailable:
            raise
        except NotAuthenticated:
            reason = f"The header {KEY_HEADER} holds no API key that is known."
        except Refusal as error:
            reason = str(error)
        except Exception as error:
            # Whatever it is about this one: the others must not wait behind it for ever.
            log.exception("message.failed", message_id=repr(message.message_id)[:500])
            reason = f"It could not be accepted, and the log tells more: {type(error).__name__}"
        else:
            return True
        try:
            await self._set_aside(message, key, reason)
        except Unavailable:
            raise
        except Exception:
            # Something of it cannot be kept. Its body alone can, and it goes out of the others' way.
            log.exception("message.not_kept")
            bare = Message(message.body, whole=message.whole)
            await self._set_aside(
                bare, None, "An unexpected error, which the log tells of; the body alone is kept."
            )
        return False

    async def _key_of(self, message: Message) -> ApiKey:
        if not message.key:
            raise Invalid(KEY_HEADER, f"is needed: an API key with the scope `{Scope.PUBLISH}`")
        return await self._keys.find(message.key)

    async def _accept(self, message: Message, key: ApiKey) -> None:
        if message.whole is not None:
            raise TooLarge("The event", size=message.size, limit=self._accepter.limits.event_bytes)
        message.check_encoding()
        idempotency_key = message.checked_id()
        event = parse_event(message.body, self._accepter.limits)
        await self._accepter.accept(
            key.tenant_id,
            (event,),
            single=True,
            idempotency_key=idempotency_key,
            request_sha256=hashlib.sha256(message.body).digest(),
        )

    async def _set_aside(self, message: Message, key: ApiKey | None, reason: str) -> None:
        now = self._clock()
        refused = RefusedMessage(
            id=MessageId(new_id()),
            tenant_id=None if key is None else key.tenant_id,
            key_id=None if key is None else key.id,
            message_id=storable(message.message_id),
            publisher=storable(message.publisher),
            size=message.size,
            reason=storable(reason) or "",
            times=1,
            first_at=now,
            last_at=now,
            body=message.body[:MOST_KEPT],
        )
        async with self._ledger.transaction() as tx:
            await messages.set_aside(tx, refused, fingerprint=message.fingerprint())
        metrics.refused(1)
        log.warning("message.set_aside", id=show_id(Prefix.MESSAGE, refused.id), reason=refused.reason)
