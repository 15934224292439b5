"""Parameters of routes: ids in the path, reasons, and pages."""

from typing import Annotated, Any
from uuid import UUID

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
from delivery.schemas.endpoints import ReasonIn

MAX_PAGE_SIZE = 100

ReasonQuery = Annotated[str | None, Query(description="The reason, for the audit log.")]


def _read_reason(body: ReasonIn | None = None) -> str | None:
    return None if body is None else body.reason


ReasonInBody = Annotated[str | None, Depends(_read_reason)]


def _id_in_path(prefix: Prefix, noun: str) -> Any:
    parameter = Path(
        alias=f"{noun}_id",
        description=f"`{prefix}_…`",
        examples=[example_id(prefix)],
        # Documented only: a malformed id gets the same response as an unknown one.
        json_schema_extra={"pattern": f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"},
    )

    def parse(text: Annotated[str, parameter]) -> UUID:
        return parse_id(prefix, text)

    return Depends(parse)


TenantInPath = Annotated[TenantId, _id_in_path(Prefix.TENANT, "tenant")]
KeyInPath = Annotated[KeyId, _id_in_path(Prefix.KEY, "key")]
EndpointInPath = Annotated[EndpointId, _id_in_path(Prefix.ENDPOINT, "endpoint")]
EventInPath = Annotated[EventId, _id_in_path(Prefix.EVENT, "event")]
DeliveryInPath = Annotated[DeliveryId, _id_in_path(Prefix.DELIVERY, "delivery")]
AttemptInPath = Annotated[AttemptId, _id_in_path(Prefix.ATTEMPT, "attempt")]
ReplayInPath = Annotated[ReplayId, _id_in_path(Prefix.REPLAY, "replay")]
MessageInPath = Annotated[MessageId, _id_in_path(Prefix.MESSAGE, "message")]


# ------------------------------------------------------------------ pages
def _read_list_query(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="Maximum number of items.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the previous page.")] = None,
) -> ListQuery:
    return ListQuery(limit, cursor, request.app.state.cursors)


ListQueryDep = Annotated[ListQuery, Depends(_read_list_query)]


def _parse_event_type(
    text: Annotated[
        str,
        Path(
            alias="event_type",
            description="For example `order.created`.",
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
