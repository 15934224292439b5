"""Events. The routes that accept them handle raw bytes, so their OpenAPI schemas are written by hand."""

from typing import Any, Self

import msgspec
from pydantic import Field

from delivery.domain.event_patterns import (
    CHANNEL_PATTERN,
    MAX_CHANNEL_LENGTH,
    MAX_CHANNELS_PER_EVENT,
    MAX_EVENT_TYPE_LENGTH,
)
from delivery.domain.ids import Prefix, format_id
from delivery.domain.scopes import Scope
from delivery.ledger.records.events import EventSummary
from delivery.schemas.base import (
    API_KEY_SCHEME,
    TENANT_HEADER,
    NextCursor,
    ResponseModel,
    TimestampOut,
    example_id,
)

_TYPE = {
    "type": "string",
    "maxLength": MAX_EVENT_TYPE_LENGTH,
    "pattern": r"^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$",
    "examples": ["order.created"],
}
_DATA = {"description": "Any JSON. Receivers get it byte for byte."}
_CHANNELS = {
    "type": ["array", "null"],
    "maxItems": MAX_CHANNELS_PER_EVENT,
    "items": {"type": "string", "maxLength": MAX_CHANNEL_LENGTH, "pattern": f"^{CHANNEL_PATTERN}$"},
    "description": "Channels of the event. It is sent to endpoints with one of these channels, and to "
    "endpoints without channels. Receivers do not see them.",
}
EVENT_SCHEMA = {
    "type": "object",
    "required": ["type", "data"],
    "additionalProperties": False,
    "properties": {"type": _TYPE, "data": _DATA, "channels": _CHANNELS},
}
EVENT_EXAMPLE = {
    "type": "order.created",
    "data": {"order": 1042, "total": "19.90"},
    "channels": ["project:1042"],
}
_ACCEPTED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id", "type", "created_at", "deliveries"],
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "deliveries": {"type": "integer", "description": "Number of endpoints it is delivered to."},
    },
}
_ACCEPTED_EXAMPLE = {
    "id": example_id(Prefix.EVENT),
    "type": "order.created",
    "created_at": "2026-11-22T18:27:00.123Z",
    "deliveries": 2,
}
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a request safe to repeat: a second one with the same key and body gets the first "
    "one's answer, with `Idempotency-Replayed: true`; with another body, 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_TENANT_PARAMETER = {
    "name": TENANT_HEADER,
    "in": "header",
    "required": False,
    "description": "The tenant to act for. Only with the operator's key: `ten_…`.",
    "schema": {"type": "string"},
}


def _describe_operation(body: dict[str, Any], sample: Any) -> dict[str, Any]:
    return {
        "security": [{API_KEY_SCHEME: [str(Scope.PUBLISH)]}],
        "parameters": [_KEY_PARAMETER, _TENANT_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": sample}},
        },
    }


def _describe_accepted(schema: dict[str, Any], sample: Any) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": schema, "example": sample}}
    return {202: {"description": "Committed; delivery is guaranteed.", "content": content}}


EVENT_OPERATION = _describe_operation(EVENT_SCHEMA, EVENT_EXAMPLE)
BATCH_OPERATION = _describe_operation(
    {
        "type": "object",
        "required": ["events"],
        "additionalProperties": False,
        "properties": {"events": {"type": "array", "minItems": 1, "items": EVENT_SCHEMA}},
    },
    {"events": [EVENT_EXAMPLE]},
)
ACCEPTED_RESPONSES = _describe_accepted(_ACCEPTED_SCHEMA, _ACCEPTED_EXAMPLE)
BATCH_ACCEPTED_RESPONSES = _describe_accepted(
    {"type": "object", "properties": {"events": {"type": "array", "items": _ACCEPTED_SCHEMA}}},
    {"events": [_ACCEPTED_EXAMPLE]},
)
READ_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The event. `body` is the payload of the standard format, byte for byte. Null: "
        "erased, or its retention period is over.",
        "content": {
            "application/json": {
                "schema": {
                    **_ACCEPTED_SCHEMA,
                    "properties": {
                        **_ACCEPTED_SCHEMA["properties"],
                        "channels": {"type": "array", "items": {"type": "string"}},
                        "erased_at": {"type": ["string", "null"], "format": "date-time"},
                        "body": {"type": ["object", "null"]},
                    },
                },
                "example": {
                    **_ACCEPTED_EXAMPLE,
                    "channels": ["project:1042"],
                    "erased_at": None,
                    "body": {"type": "order.created", "timestamp": "2026-11-22T18:27:00.123Z", "data": {}},
                },
            }
        },
    }
}


class EventOut(ResponseModel):
    """An event, without its body."""

    id: str = Field(examples=[example_id(Prefix.EVENT)])
    tenant_id: str = Field(examples=[example_id(Prefix.TENANT)])
    type: str = Field(examples=["order.created"])
    channels: list[str] = Field(description="Channels that its producer set.", examples=[["project:1042"]])
    created_at: TimestampOut
    deliveries: int = Field(description="Number of endpoints that matched when it was accepted.")
    erased_at: TimestampOut | None = Field(description="When its content was erased. Null: it was not.")

    @classmethod
    def from_record(cls, head: EventSummary) -> Self:
        """Show an event."""
        return cls(
            id=format_id(Prefix.EVENT, head.id),
            tenant_id=format_id(Prefix.TENANT, head.tenant_id),
            type=head.type,
            channels=list(head.channels),
            created_at=head.created_at,
            deliveries=head.matched,
            erased_at=head.erased_at,
        )


def to_event_document(head: EventSummary, body: bytes | None) -> dict[str, Any]:
    """Build the JSON of an event with its body, byte for byte. None: erased, or past its retention period."""
    return EventOut.from_record(head).model_dump(mode="json") | {
        "body": None if body is None else msgspec.Raw(body)
    }


class EventList(ResponseModel):
    """Events, newest first."""

    items: list[EventOut]
    next: NextCursor
