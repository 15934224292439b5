"""How event types are sent and shown."""

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
# Null in a body is no schema, and `false` is one: any JSON, and so no type of Python's.
_JSON_SCHEMA = "A JSON Schema (2020-12) of the events' `data`, which stands on its own. Null: none."


class EventTypeIn(RequestModel):
    """A type as it is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    description: str = Field("", description="For people.")
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema", description=_JSON_SCHEMA)
    examples: list[Any] = Field(
        default_factory=list, description="Of `data`: each as the schema says. The first is sent as a test."
    )
    validation: Validation | None = Field(
        None, description="`reject`: events that are not as the schema says are refused. Null: as it was."
    )

    def to_command(self) -> Declaration:
        """What is asked for."""
        return Declaration(self.description, self.schema_, self.examples, self.validation)


@with_config(ConfigDict(extra="forbid", strict=True))
class DeprecationIn(TypedDict, total=False):
    """That a type should not be used any more."""

    since: Annotated[TimestampIn | None, Field(strict=False, description="Null: now.")]
    until: Annotated[TimestampIn | None, Field(strict=False, description="When it is to end, for people.")]
    replaced_by: Annotated[str | None, Field(description="The type to use instead.")]


@with_config(ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [_PATCH]}))
class EventTypePatch(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    description: str
    validation: Validation
    deprecated: Annotated[DeprecationIn | None, Field(description="Null: it is deprecated no longer.")]


def to_event_type_changes(patch: EventTypePatch) -> EventTypeChanges:
    """What is asked for."""
    changes = EventTypeChanges()
    if "description" in patch:
        changes["description"] = patch["description"]
    if "validation" in patch:
        changes["validation"] = patch["validation"]
    if "deprecated" in patch:
        asked = patch["deprecated"]
        changes["deprecated"] = None if asked is None else Deprecation(**asked)
    return changes


class DeprecationOut(ResponseModel):
    """That a type should not be used any more."""

    since: TimestampOut
    until: TimestampOut | None
    replaced_by: str | None = Field(examples=["order.placed"])


class VersionOut(ResponseModel):
    """A version of a type."""

    version: int
    created_at: TimestampOut
    made_by: str

    @classmethod
    def from_record(cls, version: EventTypeVersionSummary) -> Self:
        """Show a version."""
        return cls(version=version.version, created_at=version.created_at, made_by=version.made_by)


class EventTypeOut(ResponseModel):
    """A type of events."""

    name: str = Field(examples=["order.created"])
    description: str
    version: int = Field(description="The newest, which is in force.")
    validation: Validation = Field(
        description="`reject`: events that are not as the schema says are refused."
    )
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
    """A type with what one of its versions says."""

    shown_version: int = Field(description="The version whose schema and examples these are.")
    schema_: dict[str, Any] | bool | None = Field(serialization_alias="schema", description=_JSON_SCHEMA)
    examples: list[Any]
    versions: list[VersionOut] = Field(description="The newest 100 of them, newest first.")

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
