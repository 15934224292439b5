"""Dead letters: messages from the ingest queue that could not be accepted."""

import base64
from typing import Any, Self

from pydantic import ConfigDict, Field

from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.ids import Prefix, TenantId, format_id, parse_id
from delivery.ledger.records.dead_letters import DeadLetter
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampOut, example_id
from delivery.services.dead_letters import BatchResult, RetryResult

_EXAMPLE: Any = {"reason": "their key may publish now"}


class MessageOut(ResponseModel):
    """A message that could not be accepted."""

    id: str = Field(examples=[example_id(Prefix.MESSAGE)])
    tenant_id: str | None = Field(description="Null: unknown.", examples=[example_id(Prefix.TENANT)])
    key_id: str | None = Field(examples=[example_id(Prefix.KEY)])
    message_id: str | None = Field(description="The AMQP message-id, used as idempotency key.")
    publisher: str | None = Field(description="The AMQP user-id or app-id, if there is one.")
    size: int = Field(description="Size of the body in bytes.")
    reason: str = Field(examples=["type: is needed"])
    times: int = Field(description="How often it was received.")
    first_at: TimestampOut
    last_at: TimestampOut

    @classmethod
    def from_record(cls, message: DeadLetter, /, **more: Any) -> Self:
        """Show a message."""
        tenant, key = message.tenant_id, message.key_id
        return cls(
            id=format_id(Prefix.MESSAGE, message.id),
            tenant_id=None if tenant is None else format_id(Prefix.TENANT, tenant),
            key_id=None if key is None else format_id(Prefix.KEY, key),
            message_id=message.message_id,
            publisher=message.publisher,
            size=message.size,
            reason=message.reason,
            times=message.times,
            first_at=message.first_at,
            last_at=message.last_at,
            **more,
        )


class MessageDetailOut(MessageOut):
    """A message with its body."""

    body: str = Field(description="The body as text, invalid UTF-8 replaced. A large body is cut.")
    body_base64: str = Field(description="The same bytes in base64.")

    @classmethod
    def from_details(cls, message: DeadLetter) -> Self:
        """Show a message with its body."""
        body = message.body or b""
        return cls.from_record(
            message, body=body.decode(errors="replace"), body_base64=base64.b64encode(body).decode()
        )


class MessageList(ResponseModel):
    """Messages, newest first."""

    items: list[MessageOut]
    next: NextCursor


class MessageRetryIn(RequestModel):
    """Options for retrying a message."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: str | None = Field(
        None,
        description="The tenant, where the message does not tell it: `ten_…`.",
        examples=[example_id(Prefix.TENANT)],
    )
    idempotency_key: str | None = Field(None, description="Used instead of its message-id.")
    reason: str | None = Field(None, description="The reason, for the audit log.")

    def parse_tenant_id(self) -> TenantId | None:
        """Parse the tenant's id. Raises Invalid."""
        try:
            return None if self.tenant_id is None else TenantId(parse_id(Prefix.TENANT, self.tenant_id))
        except MalformedId as error:
            raise Invalid("tenant_id", str(error)) from None


class RetriedOut(ResponseModel):
    """The event that was accepted from a message."""

    event_id: str = Field(examples=[example_id(Prefix.EVENT)])
    deliveries: int
    replayed: bool = Field(description="Whether it was accepted before, under the same idempotency key.")

    @classmethod
    def from_record(cls, retried: RetryResult) -> Self:
        """Show the result."""
        return cls(
            event_id=format_id(Prefix.EVENT, retried.event_id),
            deliveries=retried.deliveries,
            replayed=retried.replayed,
        )


class MessageBatchOut(ResponseModel):
    """How many messages were processed."""

    done: int
    left: int = Field(description="Messages that are still refused.")

    @classmethod
    def from_record(cls, result: BatchResult) -> Self:
        """Show the result."""
        return cls(done=result.done, left=result.remaining)
