"""Event types as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from delivery.cli.output.json_shapes import Shape, moment

if TYPE_CHECKING:
    from delivery.ledger.records.event_types import EventType
    from delivery.services.event_types.validation import EventTypeDetails


def event_type(one: EventType) -> Shape:
    """A type, without schema and examples."""
    deprecated = None
    if one.deprecated_at is not None:
        deprecated = {
            "since": moment(one.deprecated_at),
            "until": moment(one.deprecated_until),
            "replaced_by": one.replaced_by,
        }
    return {
        "name": one.name,
        "description": one.description,
        "version": one.version,
        "validation": one.validation,
        "deprecated": deprecated,
        "created_at": moment(one.created_at),
        "changed_at": moment(one.changed_at),
        "archived_at": moment(one.archived_at),
    }


def told(one: EventTypeDetails) -> Shape:
    """A type with what one of its versions says."""
    version = one.version
    return event_type(one.type) | {
        "shown_version": version.version,
        "schema": None if version.schema is None else msgspec.Raw(version.schema.encode()),
        "examples": msgspec.Raw(version.examples.encode()),
        "versions": [
            {"version": each.version, "created_at": moment(each.created_at), "made_by": each.made_by}
            for each in one.versions
        ],
    }
