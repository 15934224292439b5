"""The catalogue as an OpenAPI 3.1 document: each type is one of its `webhooks`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.domain.json_schema import rebase_schema
from delivery.services.event_types.documents import (
    DESCRIPTION,
    HEADERS,
    TITLE,
    build_body_schema,
    build_description,
    build_examples,
    parse_schema,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.ledger.records.event_types import EventType, EventTypeVersion
    from delivery.services.event_types.documents import Document

_PARAMETERS: Final = "#/components/parameters/"
_SCHEMAS: Final = "#/components/schemas/"
_RESPONSES: Final = {
    "2XX": {"description": "Delivered; it is not sent again."},
    "410": {"description": "Gone: the endpoint is disabled."},
    "default": {"description": "Retried by the endpoint's schedule, or failed after the last retry."},
}


def build_openapi(types: Sequence[tuple[EventType, EventTypeVersion]], *, version: int) -> Document:
    """Types with their newest versions as a document; `version` is the catalogue's."""
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": str(version), "description": DESCRIPTION},
        "webhooks": {
            event_type.name: {"post": _build_operation(event_type, newest)} for event_type, newest in types
        },
        "components": {
            "parameters": {name: _build_parameter(name) for name in HEADERS},
            "schemas": {
                event_type.name: rebase_schema(parse_schema(newest), _SCHEMAS + event_type.name)
                for event_type, newest in types
            },
        },
    }


def _build_operation(event_type: EventType, newest: EventTypeVersion) -> Document:
    content: Document = {"schema": build_body_schema(event_type.name, {"$ref": _SCHEMAS + event_type.name})}
    examples = build_examples(newest)
    if examples:
        content["examples"] = {f"example-{place}": {"value": each} for place, each in enumerate(examples, 1)}
    operation: Document = {
        "operationId": event_type.name,
        "summary": event_type.name,
        "parameters": [{"$ref": _PARAMETERS + name} for name in HEADERS],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": _RESPONSES,
    }
    if build_description(event_type):
        operation["description"] = build_description(event_type)
    if event_type.deprecated_at is not None:
        operation["deprecated"] = True
    return operation


def _build_parameter(name: str) -> Document:
    description, schema, example = HEADERS[name]
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": dict(schema),
        "example": example,
    }
