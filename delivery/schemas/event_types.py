"""Event types of the catalogue."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.ledger.records.event_types import EventType, EventTypeVersionSummary
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampIn, TimestampOut
from delivery.services.event_types.validation import (
    Declaration,
    Deprecation,
    EventTypeChanges,
    EventTypeDetails,
)

_SCHEMA = {
    "type": "object",
    "required": ["order", "total"],
    "properties": {"order": {"type": "integer"}, "total": {"type": "string"}},
}
_EXAMPLE: Any = {
    "description": "Somebody has ordered something.",
    "schema": _SCHEMA,
    "examples": [{"order": 1042, "total": "19.90"}],
    "validation": "reject",
}
_PATCH: Any = {"deprecated": {"until": "2027-06-30T00:00:00Z", "replaced_by": "order.placed"}}
Validation = Literal["off", "reject"]
# Null is no schema, while `false` is one.
_JSON_SCHEMA = "A self-contained JSON Schema (2020-12) for the events' `data`. Null: none."


class EventTypeIn(RequestModel):
    """The declaration of an event type."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    description: str = Field("", description="For humans.")
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema", description=_JSON_SCHEMA)
    examples: list[Any] = Field(
        default_factory=list,
        description="Examples of `data`, valid against the schema. The first is sent as a test event.",
    )
    validation: Validation | None = Field(
        None, description="`reject`: refuse events that do not match the schema. Null: unchanged."
    )

    def to_command(self) -> Declaration:
        """Convert to the use case's input."""
        return Declaration(self.description, self.schema_, self.examples, self.validation)


@with_config(ConfigDict(extra="forbid", strict=True))
class DeprecationIn(TypedDict, total=False):
    """The deprecation of an event type."""

    since: Annotated[TimestampIn | None, Field(strict=False, description="Null: now.")]
    until: Annotated[
        TimestampIn | None, Field(strict=False, description="When it is going to be removed; informational.")
    ]
    replaced_by: Annotated[str | None, Field(description="The event type to use instead.")]


@with_config(ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [_PATCH]}))
class EventTypePatch(TypedDict, total=False):
    """The fields to change; others stay as they are."""

    description: str
    validation: Validation
    deprecated: Annotated[DeprecationIn | None, Field(description="Null: no longer deprecated.")]


def to_event_type_changes(patch: EventTypePatch) -> EventTypeChanges:
    """Convert to the use case's input."""
    changes = EventTypeChanges()
    if "description" in patch:
        changes["description"] = patch["description"]
    if "validation" in patch:
        changes["validation"] = patch["validation"]
    if "deprecated" in patch:
        deprecated = patch["deprecated"]
        changes["deprecated"] = None if deprecated is None else Deprecation(**deprecated)
    return changes


class DeprecationOut(ResponseModel):
    """The deprecation of an event type."""

    since: TimestampOut
    until: TimestampOut | None
    replaced_by: str | None = Field(examples=["order.placed"])


class VersionOut(ResponseModel):
    """A version of an event type."""

    version: int
    created_at: TimestampOut
    made_by: str

    @classmethod
    def from_record(cls, version: EventTypeVersionSummary) -> Self:
        """Show a version."""
        return cls(version=version.version, created_at=version.created_at, made_by=version.made_by)


class EventTypeOut(ResponseModel):
    """An event type."""

    name: str = Field(examples=["order.created"])
    description: str
    version: int = Field(description="The newest version, which applies.")
    validation: Validation = Field(description="`reject`: events that do not match the schema are refused.")
    deprecated: DeprecationOut | None
    created_at: TimestampOut
    changed_at: TimestampOut
    archived_at: TimestampOut | None

    @classmethod
    def from_record(cls, event_type: EventType, /, **more: Any) -> Self:
        """Show a type."""
        deprecated = None
        if event_type.deprecated_at is not None:
            deprecated = DeprecationOut(
                since=event_type.deprecated_at,
                until=event_type.deprecated_until,
                replaced_by=event_type.replaced_by,
            )
        return cls(
            name=event_type.name,
            description=event_type.description,
            version=event_type.version,
            validation="reject" if event_type.validation == "reject" else "off",
            deprecated=deprecated,
            created_at=event_type.created_at,
            changed_at=event_type.changed_at,
            archived_at=event_type.archived_at,
            **more,
        )


class EventTypeDetailOut(EventTypeOut):
    """An event type with the contents of one version."""

    shown_version: int = Field(description="The version of this schema and these examples.")
    schema_: dict[str, Any] | bool | None = Field(serialization_alias="schema", description=_JSON_SCHEMA)
    examples: list[Any]
    versions: list[VersionOut] = Field(description="The newest 100 versions, newest first.")

    @classmethod
    def from_details(cls, details: EventTypeDetails) -> Self:
        """Show a type with a version."""
        version = details.version
        return cls.from_record(
            details.type,
            shown_version=version.version,
            schema_=None if version.schema is None else json.loads(version.schema),
            examples=json.loads(version.examples),
            versions=[VersionOut.from_record(each) for each in details.versions],
        )


class EventTypeList(ResponseModel):
    """Types, by name."""

    items: list[EventTypeOut]
    next: NextCursor
