"""Refused messages of the ingest queue: list, read, retry, discard. All of it needs the operator's key."""

from fastapi import APIRouter

from delivery.api.http.auth import RequiresOperator, ServicesDep
from delivery.api.http.parameters import ListQueryDep, MessageInPath, ReasonQuery
from delivery.api.http.strict import StrictRoute
from delivery.schemas.dead_letters import (
    MessageDetailOut,
    MessageList,
    MessageOut,
    MessageRetryIn,
    RetriedOut,
)

router = APIRouter(prefix="/v1/ingest/messages", tags=["ingest"], route_class=StrictRoute)


@router.get("")
async def list_messages(
    services: ServicesDep, _actor: RequiresOperator, list_query: ListQueryDep
) -> MessageList:
    """List the messages that could not be accepted, newest first, without their bodies."""
    page = await services.dead_letters.list_messages(list_query.to_page_request("messages"))
    items = [MessageOut.from_record(message) for message in page.items]
    return MessageList(items=items, next=list_query.encode_next_cursor(page.next_cursor, "messages"))


@router.get("/{message_id}")
async def read_message(
    services: ServicesDep, _actor: RequiresOperator, message_id: MessageInPath
) -> MessageDetailOut:
    """Read a message with its body."""
    return MessageDetailOut.from_details(await services.dead_letters.get_message(message_id))


@router.post("/{message_id}/retry")
async def retry_message(
    services: ServicesDep,
    actor: RequiresOperator,
    message_id: MessageInPath,
    body: MessageRetryIn | None = None,
) -> RetriedOut:
    """Accept a message as it was received. If it is refused again, the response says why, and it is kept."""
    options = body or MessageRetryIn()
    return RetriedOut.from_record(
        await services.dead_letters.retry_message(
            message_id,
            tenant_id=options.parse_tenant_id(),
            idempotency_key=options.idempotency_key,
            reason=options.reason,
            actor=actor,
        )
    )


@router.delete("/{message_id}", status_code=204)
async def discard_message(
    services: ServicesDep, actor: RequiresOperator, message_id: MessageInPath, reason: ReasonQuery = None
) -> None:
    """Discard a message permanently."""
    await services.dead_letters.discard_message(message_id, reason=reason, actor=actor)
