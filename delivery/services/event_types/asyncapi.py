"""The catalogue as an AsyncAPI 3 document: each type is a message that is sent to an endpoint. Pure.

AsyncAPI's own schemas are those of JSON Schema draft 7, with more. A schema that says something else there is
marked with its own dialect, which fewer tools read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.domain.json_schema import is_draft_7_compatible, rebase_schema
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

_SCHEMAS: Final = "#/components/schemas/"
_CHANNEL: Final = "endpoint"
_JSON_SCHEMA_2020_12: Final = "application/schema+json;version=2020-12"


def build_asyncapi(types: Sequence[tuple[EventType, EventTypeVersion]], *, version: int) -> Document:
    """Types with their newest versions as a document; `version` is the catalogue's."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": TITLE, "version": str(version), "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            _CHANNEL: {
                "address": None,  # every receiver has one of its own
                "description": "An endpoint: a receiver's URL, which gets what its filter asks for.",
                "messages": {
                    event_type.name: {"$ref": f"#/components/messages/{event_type.name}"}
                    for event_type, _ in types
                },
            }
        },
        "operations": {
            "deliver": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_CHANNEL}"},
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            }
        },
        "components": {
            "messages": {event_type.name: _build_message(event_type, newest) for event_type, newest in types},
            "schemas": {
                event_type.name: _build_schema(event_type.name, newest) for event_type, newest in types
            },
        },
    }


def _build_schema(name: str, newest: EventTypeVersion) -> Document:
    schema = parse_schema(newest)
    if isinstance(schema, bool):  # which may not stand here
        return {} if schema else {"not": {}}
    if is_draft_7_compatible(schema):
        moved: Document = rebase_schema(schema, _SCHEMAS + name)
        return moved
    return {"schemaFormat": _JSON_SCHEMA_2020_12, "schema": rebase_schema(schema, f"{_SCHEMAS}{name}/schema")}


def _build_message(event_type: EventType, newest: EventTypeVersion) -> Document:
    message: Document = {
        "name": event_type.name,
        "title": event_type.name,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": list(HEADERS),
            "properties": {
                name: {**schema, "description": description}
                for name, (description, schema, _) in HEADERS.items()
            },
        },
        "payload": _build_payload(event_type, newest),
    }
    if build_description(event_type):
        message["description"] = build_description(event_type)
    examples = build_examples(newest)
    if examples:
        headers = {name: example for name, (_, _, example) in HEADERS.items()}
        message["examples"] = [
            {"name": f"example-{place}", "headers": headers, "payload": each}
            for place, each in enumerate(examples, 1)
        ]
    return message


def _build_payload(event_type: EventType, newest: EventTypeVersion) -> Document:
    alike = is_draft_7_compatible(parse_schema(newest))
    payload = build_body_schema(
        event_type.name, {"$ref": f"{_SCHEMAS}{event_type.name}{'' if alike else '/schema'}"}
    )
    if event_type.deprecated_at is not None:
        payload["deprecated"] = True
    return payload if alike else {"schemaFormat": _JSON_SCHEMA_2020_12, "schema": payload}
