"""Messages of the ingest queue that were refused: seen, tried again, thrown away. By the operator alone."""

import base64
from typing import Any, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from delivery.api.callers import AsOperator, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedPage,
    Given,
    MessageInPath,
    Moment,
    Next,
    Reason,
    Shown,
    example,
)
from delivery.errors import Invalid, MalformedId
from delivery.ingest import Retried
from delivery.ledger.messages import RefusedMessage
from delivery.model import Prefix, TenantId, parse_id, show_id

router = APIRouter(prefix="/v1/ingest/messages", tags=["ingest"], route_class=StrictRoute)

_EXAMPLE: Any = {"reason": "their key may publish now"}


class MessageOut(Shown):
    """A message that could not be accepted."""

    id: str = Field(examples=[example(Prefix.MESSAGE)])
    tenant_id: str | None = Field(
        description="Null: its key did not tell.", examples=[example(Prefix.TENANT)]
    )
    key_id: str | None = Field(examples=[example(Prefix.KEY)])
    message_id: str | None = Field(description="Its message-id, which is its idempotency key.")
    publisher: str | None = Field(description="Who published it, if it says so: user-id or app-id.")
    size: int = Field(description="Bytes of its body.")
    reason: str = Field(examples=["type: is needed"])
    times: int = Field(description="How often it came.")
    first_at: Moment
    last_at: Moment

    @classmethod
    def of(cls, message: RefusedMessage, /, **more: Any) -> Self:
        """Show a message."""
        tenant, key = message.tenant_id, message.key_id
        return cls(
            id=show_id(Prefix.MESSAGE, message.id),
            tenant_id=None if tenant is None else show_id(Prefix.TENANT, tenant),
            key_id=None if key is None else show_id(Prefix.KEY, key),
            message_id=message.message_id,
            publisher=message.publisher,
            size=message.size,
            reason=message.reason,
            times=message.times,
            first_at=message.first_at,
            last_at=message.last_at,
            **more,
        )


class WholeMessageOut(MessageOut):
    """A message with what it held."""

    body: str = Field(description="As text; what is no UTF-8 is replaced. Of a large one, the beginning.")
    body_base64: str = Field(description="The same, byte for byte.")


class MessageList(Shown):
    """Messages, newest first."""

    items: list[MessageOut]
    next: Next


class MessageRetryIn(Given):
    """How a message is tried again."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: str | None = Field(
        None,
        description="Whose it is, where its key did not tell: `ten_…`.",
        examples=[example(Prefix.TENANT)],
    )
    idempotency_key: str | None = Field(None, description="In place of its message-id.")
    reason: str | None = Field(None, description="Why, for people.")

    def whose(self) -> TenantId | None:
        """The tenant that is named. Raises Invalid."""
        try:
            return None if self.tenant_id is None else TenantId(parse_id(Prefix.TENANT, self.tenant_id))
        except MalformedId as error:
            raise Invalid("tenant_id", str(error)) from None


class RetriedOut(Shown):
    """The event that a message became."""

    event_id: str = Field(examples=[example(Prefix.EVENT)])
    deliveries: int
    replayed: bool = Field(description="Whether it had been accepted before, under the same key.")

    @classmethod
    def of(cls, retried: Retried) -> Self:
        """Show what came of it."""
        return cls(
            event_id=show_id(Prefix.EVENT, retried.event_id),
            deliveries=retried.deliveries,
            replayed=retried.replayed,
        )


@router.get("")
async def list_messages(uses: Uses, _actor: AsOperator, asked: AskedPage) -> MessageList:
    """List the messages that could not be accepted, newest first, without their bodies."""
    page = await uses.messages.page(asked.cut("messages"))
    items = [MessageOut.of(message) for message in page.items]
    return MessageList(items=items, next=asked.next(page.last, "messages"))


@router.get("/{message_id}")
async def read_message(uses: Uses, _actor: AsOperator, message_id: MessageInPath) -> WholeMessageOut:
    """Read a message with its body."""
    message = await uses.messages.read(message_id)
    body = message.body or b""
    return WholeMessageOut.of(
        message, body=body.decode(errors="replace"), body_base64=base64.b64encode(body).decode()
    )


@router.post("/{message_id}/retry")
async def retry_message(
    uses: Uses, actor: AsOperator, message_id: MessageInPath, given: MessageRetryIn | None = None
) -> RetriedOut:
    """Accept a message after all, as it came. What still refuses it is the answer, and it stays."""
    asked = given or MessageRetryIn()
    return RetriedOut.of(
        await uses.messages.retry(
            message_id,
            tenant_id=asked.whose(),
            idempotency_key=asked.idempotency_key,
            reason=asked.reason,
            actor=actor,
        )
    )


@router.delete("/{message_id}", status_code=204)
async def discard_message(
    uses: Uses, actor: AsOperator, message_id: MessageInPath, reason: Reason = None
) -> None:
    """Throw a message away for good."""
    await uses.messages.discard(message_id, reason=reason, actor=actor)
