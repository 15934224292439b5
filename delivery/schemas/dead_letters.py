"""Dead letters: messages of the ingest queue that could not be accepted."""

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
    tenant_id: str | None = Field(
        description="Null: its key did not tell.", examples=[example_id(Prefix.TENANT)]
    )
    key_id: str | None = Field(examples=[example_id(Prefix.KEY)])
    message_id: str | None = Field(description="Its message-id, which is its idempotency key.")
    publisher: str | None = Field(description="Who published it, if it says so: user-id or app-id.")
    size: int = Field(description="Bytes of its body.")
    reason: str = Field(examples=["type: is needed"])
    times: int = Field(description="How often it came.")
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
    """A message with what it held."""

    body: str = Field(description="As text; what is no UTF-8 is replaced. Of a large one, the beginning.")
    body_base64: str = Field(description="The same, byte for byte.")

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
    """How a message is tried again."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: str | None = Field(
        None,
        description="Whose it is, where its key did not tell: `ten_…`.",
        examples=[example_id(Prefix.TENANT)],
    )
    idempotency_key: str | None = Field(None, description="In place of its message-id.")
    reason: str | None = Field(None, description="Why, for people.")

    def parse_tenant_id(self) -> TenantId | None:
        """The tenant that is named. Raises Invalid."""
        try:
            return None if self.tenant_id is None else TenantId(parse_id(Prefix.TENANT, self.tenant_id))
        except MalformedId as error:
            raise Invalid("tenant_id", str(error)) from None


class RetriedOut(ResponseModel):
    """The event that a message became."""

    event_id: str = Field(examples=[example_id(Prefix.EVENT)])
    deliveries: int
    replayed: bool = Field(description="Whether it had been accepted before, under the same key.")

    @classmethod
    def from_record(cls, retried: RetryResult) -> Self:
        """Show what came of it."""
        return cls(
            event_id=format_id(Prefix.EVENT, retried.event_id),
            deliveries=retried.deliveries,
            replayed=retried.replayed,
        )


class MessageBatchOut(ResponseModel):
    """What became of many messages."""

    done: int
    left: int = Field(description="Messages that are still refused.")

    @classmethod
    def from_record(cls, result: BatchResult) -> Self:
        """Show what became of them."""
        return cls(done=result.done, left=result.remaining)
