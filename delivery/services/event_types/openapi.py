"""The catalogue as an OpenAPI 3.1 document: each type is one of its `webhooks`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.catalogue.parts import ABOUT, HEADERS, TITLE, body, described, examples_of, schema_of
from delivery.schemas import rebased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.catalogue.parts import Document
    from delivery.ledger.event_types import EventType, Version

_PARAMETERS: Final = "#/components/parameters/"
_SCHEMAS: Final = "#/components/schemas/"
_RESPONSES: Final = {
    "2XX": {"description": "It is had, and is not sent again."},
    "410": {"description": "Nothing is to be sent here any more: the endpoint is disabled."},
    "default": {"description": "It is tried again later, or has failed, by the endpoint's schedule."},
}


def openapi(types: Sequence[tuple[EventType, Version]], *, version: int) -> Document:
    """Types with their newest versions as a document; `version` is the catalogue's."""
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": str(version), "description": ABOUT},
        "webhooks": {one.name: {"post": _operation(one, newest)} for one, newest in types},
        "components": {
            "parameters": {name: _parameter(name) for name in HEADERS},
            "schemas": {one.name: rebased(schema_of(newest), _SCHEMAS + one.name) for one, newest in types},
        },
    }


def _operation(one: EventType, newest: Version) -> Document:
    content: Document = {"schema": body(one.name, {"$ref": _SCHEMAS + one.name})}
    examples = examples_of(newest)
    if examples:
        content["examples"] = {f"example-{place}": {"value": each} for place, each in enumerate(examples, 1)}
    told: Document = {
        "operationId": one.name,
        "summary": one.name,
        "parameters": [{"$ref": _PARAMETERS + name} for name in HEADERS],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": _RESPONSES,
    }
    if described(one):
        told["description"] = described(one)
    if one.deprecated_at is not None:
        told["deprecated"] = True
    return told


def _parameter(name: str) -> Document:
    description, schema, example = HEADERS[name]
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": dict(schema),
        "example": example,
    }
