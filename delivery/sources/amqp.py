"""Accepts events that arrive as AMQP messages; others are stored as dead letters with the reason."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from delivery.domain.errors import Invalid, NotAuthenticated, Refusal, ScopeMissing, TooLarge, Unavailable
from delivery.domain.ids import MessageId, Prefix, format_id, new_id
from delivery.domain.inbound_message import KEY_HEADER, MAX_STORED_BODY_BYTES, InboundMessage, sanitize_text
from delivery.domain.scopes import Scope
from delivery.ledger.records import dead_letters
from delivery.ledger.records.dead_letters import DeadLetter
from delivery.log import get_logger
from delivery.pipeline.parsing import parse_event
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.domain.api_key import ApiKey
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.intake import Intake
    from delivery.services.api_keys.service import ApiKeyService

log = get_logger()


class AmqpIntake:
    """Handles the messages of the ingest queue. Concurrent messages share commits."""

    def __init__(
        self, ledger: Ledger, intake: Intake, api_keys: ApiKeyService, *, clock: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._intake = intake
        self._api_keys = api_keys
        self._clock = clock

    async def handle_message(self, message: InboundMessage) -> bool:
        """Accept a message (True) or store it as a dead letter (False); it may be acknowledged after either.

        Raises Unavailable when the ledger does not answer: the message may have been accepted. Handled again,
        it is the same event, as long as idempotency keys are kept.
        """
        key: ApiKey | None = None
        try:
            key = await self._authenticate(message)
            if Scope.PUBLISH not in key.scopes:
                raise ScopeMissing([Scope.PUBLISH], [Scope.PUBLISH])  # noqa: TRY301  a dead letter like the others
            await self._accept_event(message, key)
        except Unavailable:
            raise
        except NotAuthenticated:
            reason = f"The header {KEY_HEADER} holds no API key that is known."
        except Refusal as error:
            reason = str(error)
        except Exception as error:
            # Whatever is wrong with this message, the others must not wait behind it for ever.
            log.exception("message.failed", message_id=repr(message.message_id)[:500])
            reason = f"It could not be accepted, and the log tells more: {type(error).__name__}"
        else:
            return True
        try:
            await self._store_dead_letter(message, key, reason)
        except Unavailable:
            raise
        except Exception:
            # Part of it cannot be stored: the body alone can, and the message leaves the queue.
            log.exception("message.not_kept")
            bare = InboundMessage(message.body, original=message.original)
            await self._store_dead_letter(
                bare, None, "An unexpected error (see the log); only the body is stored."
            )
        return False

    async def _authenticate(self, message: InboundMessage) -> ApiKey:
        if not message.api_key:
            raise Invalid(KEY_HEADER, f"is needed: an API key with the scope `{Scope.PUBLISH}`")
        return await self._api_keys.authenticate_message(message.api_key)

    async def _accept_event(self, message: InboundMessage, key: ApiKey) -> None:
        if message.original is not None:
            raise TooLarge("The event", size=message.size, limit=self._intake.limits.event_bytes)
        message.check_encoding()
        idempotency_key = message.require_message_id()
        event = parse_event(message.body, self._intake.limits)
        await self._intake.accept_events(
            key.tenant_id,
            (event,),
            single=True,
            idempotency_key=idempotency_key,
            request_sha256=hashlib.sha256(message.body).digest(),
        )

    async def _store_dead_letter(self, message: InboundMessage, key: ApiKey | None, reason: str) -> None:
        now = self._clock()
        dead_letter = DeadLetter(
            id=MessageId(new_id()),
            tenant_id=None if key is None else key.tenant_id,
            key_id=None if key is None else key.id,
            message_id=sanitize_text(message.message_id),
            publisher=sanitize_text(message.publisher),
            size=message.size,
            reason=sanitize_text(reason) or "",
            times=1,
            first_at=now,
            last_at=now,
            body=message.body[:MAX_STORED_BODY_BYTES],
        )
        async with self._ledger.transaction() as tx:
            await dead_letters.upsert(tx, dead_letter, fingerprint=message.compute_fingerprint())
        metrics.count_refused_messages(1)
        log.warning(
            "message.set_aside", id=format_id(Prefix.MESSAGE, dead_letter.id), reason=dead_letter.reason
        )
