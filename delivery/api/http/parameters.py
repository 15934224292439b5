"""Parameters of routes: ids in the path, times and reasons in the query, pages."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from delivery.api.http.cursors import ListQuery
from delivery.domain.errors import NotFound
from delivery.domain.event_patterns import check_event_type
from delivery.domain.ids import (
    AttemptId,
    DeliveryId,
    EndpointId,
    EventId,
    KeyId,
    MessageId,
    Prefix,
    ReplayId,
    TenantId,
    parse_id,
)
from delivery.schemas.base import example_id

MAX_PAGE_SIZE = 100

ReasonQuery = Annotated[str | None, Query(description="Why, for people: it is kept in the audit.")]


def _id_path(prefix: Prefix, noun: str) -> Any:
    # For the document alone: what is no id is answered like an id that nothing has.
    pattern = {"pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"}
    return Path(
        alias=f"{noun}_id",
        description=f"`{prefix}_…`",
        examples=[example_id(prefix)],
        json_schema_extra=pattern,
    )


def _parse_tenant_id(text: Annotated[str, _id_path(Prefix.TENANT, "tenant")]) -> TenantId:
    return TenantId(parse_id(Prefix.TENANT, text))


def _parse_key_id(text: Annotated[str, _id_path(Prefix.KEY, "key")]) -> KeyId:
    return KeyId(parse_id(Prefix.KEY, text))


def _parse_endpoint_id(text: Annotated[str, _id_path(Prefix.ENDPOINT, "endpoint")]) -> EndpointId:
    return EndpointId(parse_id(Prefix.ENDPOINT, text))


def _parse_event_id(text: Annotated[str, _id_path(Prefix.EVENT, "event")]) -> EventId:
    return EventId(parse_id(Prefix.EVENT, text))


def _parse_delivery_id(text: Annotated[str, _id_path(Prefix.DELIVERY, "delivery")]) -> DeliveryId:
    return DeliveryId(parse_id(Prefix.DELIVERY, text))


def _parse_attempt_id(text: Annotated[str, _id_path(Prefix.ATTEMPT, "attempt")]) -> AttemptId:
    return AttemptId(parse_id(Prefix.ATTEMPT, text))


def _parse_replay_id(text: Annotated[str, _id_path(Prefix.REPLAY, "replay")]) -> ReplayId:
    return ReplayId(parse_id(Prefix.REPLAY, text))


def _parse_message_id(text: Annotated[str, _id_path(Prefix.MESSAGE, "message")]) -> MessageId:
    return MessageId(parse_id(Prefix.MESSAGE, text))


TenantInPath = Annotated[TenantId, Depends(_parse_tenant_id)]
KeyInPath = Annotated[KeyId, Depends(_parse_key_id)]
EndpointInPath = Annotated[EndpointId, Depends(_parse_endpoint_id)]
EventInPath = Annotated[EventId, Depends(_parse_event_id)]
DeliveryInPath = Annotated[DeliveryId, Depends(_parse_delivery_id)]
AttemptInPath = Annotated[AttemptId, Depends(_parse_attempt_id)]
ReplayInPath = Annotated[ReplayId, Depends(_parse_replay_id)]
MessageInPath = Annotated[MessageId, Depends(_parse_message_id)]


# ------------------------------------------------------------------ pages
def _read_list_query(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="At most so many items.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before this one.")] = None,
) -> ListQuery:
    return ListQuery(limit, cursor, request.app.state.cursors)


ListQueryDep = Annotated[ListQuery, Depends(_read_list_query)]


def _parse_event_type(
    text: Annotated[
        str,
        Path(
            alias="event_type",
            description="Such as `order.created`.",
            examples=["order.created"],
            json_schema_extra={"pattern": r"^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$"},
        ),
    ],
) -> str:
    try:
        return check_event_type(text)
    except ValueError:
        raise NotFound("event type", text) from None


EventTypeInPath = Annotated[str, Depends(_parse_event_type)]
