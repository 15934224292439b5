"""Shared parts of the catalogue's documents: body schema, headers, examples, descriptions. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.durations import format_utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.ledger.records.event_types import EventType, EventTypeVersion

Document = dict[str, Any]

TITLE: Final = "Events"
DESCRIPTION: Final = (
    "Events that are sent to endpoints. Deliveries are signed as in Standard Webhooks: verify one before you "
    "parse the body, and ignore deliveries whose `webhook-id` you have already processed."
)
_EXAMPLE_TIMESTAMP: Final = "2026-11-22T18:27:00.123Z"

# By name: a description, a schema and an example of each (https://www.standardwebhooks.com).
HEADERS: Final[Mapping[str, tuple[str, Mapping[str, Any], Any]]] = {
    "webhook-id": (
        "The event's id: the same on every attempt and replay.",
        {"type": "string", "pattern": "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$"},
        "evt_01kasw8qbefy09m6sc7n75yr3h",
    ),
    "webhook-timestamp": (
        "When this attempt was signed, in seconds since 1970.",
        {"type": "string", "pattern": "^[0-9]+$"},
        "1763836020",
    ),
    "webhook-signature": (
        "One or several signatures of `{webhook-id}.{webhook-timestamp}.{body}`: `v1,` or `v1a,` and base64.",
        {"type": "string", "minLength": 1},
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}


def build_body_schema(name: str, data: Document) -> Document:
    """The schema of a type's bodies, around that of their `data`."""
    return {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "const": name},
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "When the event was accepted.",
            },
            "data": data,
        },
    }


def parse_schema(version: EventTypeVersion) -> Any:
    """A version's schema; without one, a schema that accepts anything."""
    return {} if version.schema is None else json.loads(version.schema)


def build_examples(version: EventTypeVersion) -> list[Document]:
    """Bodies around a version's examples."""
    return [
        {"type": version.name, "timestamp": _EXAMPLE_TIMESTAMP, "data": data}
        for data in json.loads(version.examples)
    ]


def build_description(event_type: EventType) -> str:
    """The description of a type, with its deprecation."""
    return "\n\n".join(part for part in (event_type.description, _describe_deprecation(event_type)) if part)


def _describe_deprecation(event_type: EventType) -> str:
    if event_type.deprecated_at is None:
        return ""
    until = (
        ""
        if event_type.deprecated_until is None
        else f" It is sent until {format_utc(event_type.deprecated_until)}."
    )
    instead = "" if event_type.replaced_by is None else f" Use `{event_type.replaced_by}`."
    return f"Deprecated since {format_utc(event_type.deprecated_at)}.{until}{instead}"
