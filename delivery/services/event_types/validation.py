"""What the operator says of an event type, and whether it can be kept. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from delivery.checks import check_text, field
from delivery.errors import Invalid
from delivery.filters import check_event_type
from delivery.ledger.event_types import OFF, REJECT
from delivery.operational import TYPES
from delivery.schemas import BadSchema, check_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.ledger.event_types import EventType, Version, VersionHead
    from delivery.schemas import Validator

LONGEST_DESCRIPTION: Final = 2_000
MOST_EXAMPLES: Final = 10
EXAMPLE_BYTES: Final = 65_536
VALIDATIONS: Final = (OFF, REJECT)
_ENGINES: Final = "waybill."


@dataclass(frozen=True, slots=True)
class Declaration:
    """A type as it is to be from now on: `schema` and `examples` are of its events' `data`.

    `validation` None: as it was, and `off` for a new type.
    """

    description: str = ""
    schema: Any = None
    examples: Sequence[Any] = ()
    validation: str | None = None


@dataclass(frozen=True, slots=True)
class Deprecation:
    """From when on a type should not be used (None: now), until when it still comes, what comes instead."""

    since: datetime | None = None
    until: datetime | None = None
    replaced_by: str | None = None


class TypeChanges(TypedDict, total=False):
    """What is to become different; what is not named stays. `deprecated` None: it is so no longer."""

    description: str
    validation: str
    deprecated: Deprecation | None


@dataclass(frozen=True, slots=True)
class Content:
    """A schema and examples as they are stored: JSON texts."""

    schema: str | None
    examples: str


@dataclass(frozen=True, slots=True)
class Told:
    """A type with one of its versions, and the newest versions of all, newest first."""

    type: EventType
    version: Version
    versions: Sequence[VersionHead]


def checked_name(name: str) -> str:
    """The name of a type that may be in the catalogue; raises Invalid, which names the field `name`."""
    with field("name"):
        check_event_type(name)
        if name in TYPES or name.startswith(_ENGINES):
            raise ValueError("is the engine's own")
    return name


def checked_description(text: str) -> str:
    """Words for people; raises Invalid."""
    with field("description"):
        return check_text(text, most=LONGEST_DESCRIPTION)


def checked_content(schema: Any, examples: Sequence[Any]) -> Content:
    """A schema that is taken with examples that are as it says; raises Invalid, by the path of the fault."""
    validator = None if schema is None else _validator(schema)
    if len(examples) > MOST_EXAMPLES:
        raise Invalid("examples", f"are {len(examples)}; at most {MOST_EXAMPLES} are kept")
    texts = [_checked_example(place, one, validator) for place, one in enumerate(examples)]
    return Content(None if schema is None else written(schema), f"[{','.join(texts)}]")


def checked_validation(validation: str, *, schema: str | None) -> str:
    """Whether events are held against the schema; raises Invalid."""
    if validation not in VALIDATIONS:
        raise Invalid("validation", f"must be {' or '.join(VALIDATIONS)}")
    if validation == REJECT and schema is None:
        raise Invalid("validation", "needs a schema to hold events against")
    return validation


def checked_deprecation(deprecation: Deprecation, *, name: str, now: datetime) -> Deprecation:
    """When a type goes and what comes instead; raises Invalid, which names the field."""
    since = deprecation.since or now
    if deprecation.until is not None and deprecation.until < since:
        raise Invalid("deprecated.until", "lies before the time from which on it is deprecated")
    if deprecation.replaced_by is not None:
        with field("deprecated.replaced_by"):
            check_event_type(deprecation.replaced_by)
            if deprecation.replaced_by == name:
                raise ValueError("is this type itself")
    return Deprecation(since, deprecation.until, deprecation.replaced_by)


def written(value: Any) -> str:
    """A value as a JSON text. Raises ValueError for what cannot be one."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _validator(schema: Any) -> Validator:
    try:
        return check_schema(schema)
    except BadSchema as error:
        raise Invalid(".".join(["schema", *map(str, error.path)]), error.why) from None


def _checked_example(place: int, example: Any, validator: Validator | None) -> str:
    at = f"examples.{place}"
    try:
        text = written(example)
        size = len(text.encode())
    except (ValueError, RecursionError):
        raise Invalid(at, "is no JSON that can be kept") from None
    if size > EXAMPLE_BYTES:
        raise Invalid(at, f"has {size:,} bytes; at most {EXAMPLE_BYTES:,} are kept")
    fault = None if validator is None else validator.fault(text.encode())
    if fault is not None:
        raise Invalid(fault.within(at), f"is not as the schema says: {fault.why}")
    return text
