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
    "2XX": {"description": "It is had, and is not sent again."},
    "410": {"description": "Nothing is to be sent here any more: the endpoint is disabled."},
    "default": {"description": "It is tried again later, or has failed, by the endpoint's schedule."},
}


def build_openapi(types: Sequence[tuple[EventType, EventTypeVersion]], *, version: int) -> Document:
    """Types with their newest versions as a document; `version` is the catalogue's."""
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": str(version), "description": DESCRIPTION},
        "webhooks": {one.name: {"post": _build_operation(one, newest)} for one, newest in types},
        "components": {
            "parameters": {name: _build_parameter(name) for name in HEADERS},
            "schemas": {
                one.name: rebase_schema(parse_schema(newest), _SCHEMAS + one.name) for one, newest in types
            },
        },
    }


def _build_operation(one: EventType, newest: EventTypeVersion) -> Document:
    content: Document = {"schema": build_body_schema(one.name, {"$ref": _SCHEMAS + one.name})}
    examples = build_examples(newest)
    if examples:
        content["examples"] = {f"example-{place}": {"value": each} for place, each in enumerate(examples, 1)}
    told: Document = {
        "operationId": one.name,
        "summary": one.name,
        "parameters": [{"$ref": _PARAMETERS + name} for name in HEADERS],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": _RESPONSES,
    }
    if build_description(one):
        told["description"] = build_description(one)
    if one.deprecated_at is not None:
        told["deprecated"] = True
    return told


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
