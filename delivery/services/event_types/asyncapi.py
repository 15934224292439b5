"""The catalogue as an AsyncAPI 3 document: each type is a message that is sent to an endpoint. Pure.

AsyncAPI's own schemas are those of JSON Schema draft 7, with more. A schema that says something else there is
marked with its own dialect, which fewer tools read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.catalogue.parts import ABOUT, HEADERS, TITLE, body, described, examples_of, schema_of
from delivery.schemas import reads_alike, rebased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.catalogue.parts import Document
    from delivery.ledger.event_types import EventType, Version

_SCHEMAS: Final = "#/components/schemas/"
_CHANNEL: Final = "endpoint"
_NEWER: Final = "application/schema+json;version=2020-12"


def asyncapi(types: Sequence[tuple[EventType, Version]], *, version: int) -> Document:
    """Types with their newest versions as a document; `version` is the catalogue's."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": TITLE, "version": str(version), "description": ABOUT},
        "defaultContentType": "application/json",
        "channels": {
            _CHANNEL: {
                "address": None,  # every receiver has one of its own
                "description": "An endpoint: a receiver's URL, which gets what its filter asks for.",
                "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one, _ in types},
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
            "messages": {one.name: _message(one, newest) for one, newest in types},
            "schemas": {one.name: _schema(one.name, newest) for one, newest in types},
        },
    }


def _schema(name: str, newest: Version) -> Document:
    schema = schema_of(newest)
    if isinstance(schema, bool):  # which may not stand here
        return {} if schema else {"not": {}}
    if reads_alike(schema):
        moved: Document = rebased(schema, _SCHEMAS + name)
        return moved
    return {"schemaFormat": _NEWER, "schema": rebased(schema, f"{_SCHEMAS}{name}/schema")}


def _message(one: EventType, newest: Version) -> Document:
    told: Document = {
        "name": one.name,
        "title": one.name,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": list(HEADERS),
            "properties": {
                name: {**schema, "description": description}
                for name, (description, schema, _) in HEADERS.items()
            },
        },
        "payload": _payload(one, newest),
    }
    if described(one):
        told["description"] = described(one)
    examples = examples_of(newest)
    if examples:
        headers = {name: example for name, (_, _, example) in HEADERS.items()}
        told["examples"] = [
            {"name": f"example-{place}", "headers": headers, "payload": each}
            for place, each in enumerate(examples, 1)
        ]
    return told


def _payload(one: EventType, newest: Version) -> Document:
    alike = reads_alike(schema_of(newest))
    payload = body(one.name, {"$ref": f"{_SCHEMAS}{one.name}{'' if alike else '/schema'}"})
    if one.deprecated_at is not None:
        payload["deprecated"] = True
    return payload if alike else {"schemaFormat": _NEWER, "schema": payload}
