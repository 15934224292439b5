"""The declaration of an event type and the checks on it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from delivery.domain.errors import Invalid
from delivery.domain.event_patterns import check_event_type
from delivery.domain.json_schema import InvalidSchema, compile_schema
from delivery.domain.validation import validating_field
from delivery.ledger.records.event_types import VALIDATION_OFF, VALIDATION_REJECT
from delivery.pipeline.system_events import SYSTEM_EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.json_schema import Validator
    from delivery.ledger.records.event_types import EventType, EventTypeVersion, EventTypeVersionSummary

MAX_DESCRIPTION_LENGTH: Final = 2_000
MAX_EXAMPLES: Final = 10
MAX_EXAMPLE_BYTES: Final = 65_536
VALIDATIONS: Final = (VALIDATION_OFF, VALIDATION_REJECT)
_RESERVED_PREFIX: Final = "waybill."


@dataclass(frozen=True, slots=True)
class Declaration:
    """A type to create or change; `schema` and `examples` describe the `data` of its events.

    `validation` None: unchanged, or `off` for a new type.
    """

    description: str = ""
    schema: Any = None
    examples: Sequence[Any] = ()
    validation: str | None = None


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when a type is deprecated (None: now), until when it is still sent, and its replacement."""

    since: datetime | None = None
    until: datetime | None = None
    replaced_by: str | None = None


class EventTypeChanges(TypedDict, total=False):
    """The fields to change; fields that are missing stay. `deprecated` None: no longer deprecated."""

    description: str
    validation: str
    deprecated: Deprecation | None


@dataclass(frozen=True, slots=True)
class EventTypeDraft:
    """A schema and examples as they are stored, as JSON text."""

    schema: str | None
    examples: str


@dataclass(frozen=True, slots=True)
class EventTypeDetails:
    """A type with one of its versions, and a list of its newest versions, newest first."""

    type: EventType
    version: EventTypeVersion
    versions: Sequence[EventTypeVersionSummary]


def validate_name(name: str) -> str:
    """Check the name of a type for the catalogue; raises Invalid for the field `name`."""
    with validating_field("name"):
        check_event_type(name)
        if name in SYSTEM_EVENT_TYPES or name.startswith(_RESERVED_PREFIX):
            raise ValueError("is the engine's own")
    return name


def validate_content(schema: Any, examples: Sequence[Any]) -> EventTypeDraft:
    """Check a schema, and the examples against it; raises Invalid with the path of the violation."""
    validator = None if schema is None else _build_validator(schema)
    if len(examples) > MAX_EXAMPLES:
        raise Invalid("examples", f"are {len(examples)}; at most {MAX_EXAMPLES} are allowed")
    texts = [_validate_example(place, example, validator) for place, example in enumerate(examples)]
    return EventTypeDraft(None if schema is None else encode_json(schema), f"[{','.join(texts)}]")


def validate_validation_mode(validation: str, *, schema: str | None) -> str:
    """Check the validation mode; raises Invalid."""
    if validation not in VALIDATIONS:
        raise Invalid("validation", f"must be {' or '.join(VALIDATIONS)}")
    if validation == VALIDATION_REJECT and schema is None:
        raise Invalid("validation", "needs a schema")
    return validation


def validate_deprecation(deprecation: Deprecation, *, name: str, now: datetime) -> Deprecation:
    """Check a deprecation; raises Invalid."""
    since = deprecation.since or now
    if deprecation.until is not None and deprecation.until < since:
        raise Invalid("deprecated.until", "is earlier than the deprecation")
    if deprecation.replaced_by is not None:
        with validating_field("deprecated.replaced_by"):
            check_event_type(deprecation.replaced_by)
            if deprecation.replaced_by == name:
                raise ValueError("is this type itself")
    return Deprecation(since, deprecation.until, deprecation.replaced_by)


def encode_json(value: Any) -> str:
    """Encode a value as JSON text. Raises ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _build_validator(schema: Any) -> Validator:
    try:
        return compile_schema(schema)
    except InvalidSchema as error:
        raise Invalid(".".join(["schema", *map(str, error.path)]), error.why) from None


def _validate_example(place: int, example: Any, validator: Validator | None) -> str:
    at = f"examples.{place}"
    try:
        text = encode_json(example)
        size = len(text.encode())
    except (ValueError, RecursionError):
        raise Invalid(at, "is not JSON that can be stored") from None
    if size > MAX_EXAMPLE_BYTES:
        raise Invalid(at, f"has {size:,} bytes; at most {MAX_EXAMPLE_BYTES:,} are allowed")
    fault = None if validator is None else validator.find_violation(text.encode())
    if fault is not None:
        raise Invalid(fault.format_path(at), f"does not match the schema: {fault.why}")
    return text
