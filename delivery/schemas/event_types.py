"""How event types are sent and shown."""

import json
from typing import Annotated, Any, Literal, Self

from fastapi import Depends, Path
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.api.shapes import AskedMoment, Given, Moment, Next, Shown
from delivery.catalogue import Declaration, Deprecation, Told, TypeChanges
from delivery.errors import NotFound
from delivery.filters import check_event_type
from delivery.ledger.event_types import EventType, VersionHead

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


def _name(
    text: Annotated[
        str,
        Path(
            alias="event_type",
            description="Such as `order.created`.",
            examples=["order.created"],
            json_schema_extra={"pattern": r"^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$"},
        ),
    ],
) -> str:
    try:
        return check_event_type(text)
    except ValueError:
        raise NotFound("event type", text) from None


EventTypeInPath = Annotated[str, Depends(_name)]


class EventTypeIn(Given):
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

    def asked(self) -> Declaration:
        """What is asked for."""
        return Declaration(self.description, self.schema_, self.examples, self.validation)


@with_config(ConfigDict(extra="forbid", strict=True))
class DeprecationIn(TypedDict, total=False):
    """That a type should not be used any more."""

    since: Annotated[AskedMoment | None, Field(strict=False, description="Null: now.")]
    until: Annotated[AskedMoment | None, Field(strict=False, description="When it is to end, for people.")]
    replaced_by: Annotated[str | None, Field(description="The type to use instead.")]


@with_config(ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [_PATCH]}))
class EventTypePatch(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    description: str
    validation: Validation
    deprecated: Annotated[DeprecationIn | None, Field(description="Null: it is deprecated no longer.")]


def changes_of(given: EventTypePatch) -> TypeChanges:
    """What is asked for."""
    changes = TypeChanges()
    if "description" in given:
        changes["description"] = given["description"]
    if "validation" in given:
        changes["validation"] = given["validation"]
    if "deprecated" in given:
        asked = given["deprecated"]
        changes["deprecated"] = None if asked is None else Deprecation(**asked)
    return changes


class DeprecationOut(Shown):
    """That a type should not be used any more."""

    since: Moment
    until: Moment | None
    replaced_by: str | None = Field(examples=["order.placed"])


class VersionOut(Shown):
    """A version of a type."""

    version: int
    created_at: Moment
    made_by: str

    @classmethod
    def of(cls, version: VersionHead) -> Self:
        """Show a version."""
        return cls(version=version.version, created_at=version.created_at, made_by=version.made_by)


class EventTypeOut(Shown):
    """A type of events."""

    name: str = Field(examples=["order.created"])
    description: str
    version: int = Field(description="The newest, which is in force.")
    validation: Validation = Field(
        description="`reject`: events that are not as the schema says are refused."
    )
    deprecated: DeprecationOut | None
    created_at: Moment
    changed_at: Moment
    archived_at: Moment | None

    @classmethod
    def of(cls, one: EventType, /, **more: Any) -> Self:
        """Show a type."""
        deprecated = None
        if one.deprecated_at is not None:
            deprecated = DeprecationOut(
                since=one.deprecated_at, until=one.deprecated_until, replaced_by=one.replaced_by
            )
        return cls(
            name=one.name,
            description=one.description,
            version=one.version,
            validation="reject" if one.validation == "reject" else "off",
            deprecated=deprecated,
            created_at=one.created_at,
            changed_at=one.changed_at,
            archived_at=one.archived_at,
            **more,
        )


class WholeEventTypeOut(EventTypeOut):
    """A type with what one of its versions says."""

    shown_version: int = Field(description="The version whose schema and examples these are.")
    schema_: dict[str, Any] | bool | None = Field(serialization_alias="schema", description=_JSON_SCHEMA)
    examples: list[Any]
    versions: list[VersionOut] = Field(description="The newest 100 of them, newest first.")

    @classmethod
    def told(cls, told: Told) -> Self:
        """Show a type with a version."""
        version = told.version
        return cls.of(
            told.type,
            shown_version=version.version,
            schema_=None if version.schema is None else json.loads(version.schema),
            examples=json.loads(version.examples),
            versions=[VersionOut.of(each) for each in told.versions],
        )


class EventTypeList(Shown):
    """Types, by name."""

    items: list[EventTypeOut]
    next: Next
