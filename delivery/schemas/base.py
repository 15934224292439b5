"""What requests and answers are made of: models, moments, ids, pages."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from delivery.api.http.cursors import ListQuery
from delivery.domain.durations import format_rfc3339
from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.model import (
    AttemptId,
    DeliveryId,
    EndpointId,
    EventId,
    KeyId,
    MessageId,
    Prefix,
    ReplayId,
    TenantId,
    format_id,
    parse_id,
)

MAX_PAGE_SIZE = 100


class RequestModel(BaseModel):
    """Something a caller sends: exact types, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ResponseModel(BaseModel):
    """Something we answer."""

    model_config = ConfigDict(frozen=True)


# ------------------------------------------------------------------ moments and durations
TimestampOut = Annotated[
    datetime,
    PlainSerializer(format_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T18:27:00.123Z"]}),
]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
TimestampIn = Annotated[AwareDatetime, Field(ge=_EARLIEST)]
SinceQuery = Annotated[
    TimestampIn | None, Query(description="Only from this moment on (RFC 3339, with a time zone).")
]
UntilQuery = Annotated[
    TimestampIn | None, Query(description="Only before this moment (RFC 3339, with a time zone).")
]

ReasonQuery = Annotated[str | None, Query(description="Why, for people: it is kept in the audit.")]


def check_time_range(since: datetime | None, until: datetime | None) -> None:
    """Raise Invalid for a range that ends before it begins."""
    if since is not None and until is not None and until < since:
        raise Invalid("until", "lies before since")


def to_json_seconds(duration: timedelta) -> int | float:
    """Seconds as a person would write them: 5, not 5.0."""
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


# ------------------------------------------------------------------ ids
def example_id(prefix: Prefix) -> str:
    """An id for the documentation."""
    return format_id(prefix, UUID("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"))


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


def parse_query_id(prefix: Prefix, field: str, text: str | None) -> UUID | None:
    """Read an id that a filter names; raises Invalid, which names the parameter."""
    try:
        return None if text is None else parse_id(prefix, text)
    except MalformedId as error:
        raise Invalid(field, str(error)) from None


# ------------------------------------------------------------------ pages
def _read_list_query(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="At most so many items.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before this one.")] = None,
) -> ListQuery:
    return ListQuery(limit, cursor, request.app.state.cursors)


ListQueryDep = Annotated[ListQuery, Depends(_read_list_query)]
NextCursor = Annotated[
    str | None, Field(description="Pass it as `cursor` for the next page. Null: this was the last.")
]
