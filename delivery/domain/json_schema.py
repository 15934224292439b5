"""JSON Schemas of events' `data`: what is taken for one, and whether data is as it says. Pure.

The dialect is JSON Schema 2020-12. A schema stands on its own: `$ref` points into the schema itself and
nothing is ever fetched. It may not refer to itself in a circle, and all of it together, with whatever it
refers to put in place, has a bounded number of parts. Data that has too many values for so many parts is
refused without a check: one takes about a second at worst, and a few microseconds as a rule. Patterns are of
the kind that takes time linear in the text (no look-around, no back-references). `format` tells people
something and refuses nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import jsonschema_rs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES: Final = 65_536
MAX_SCHEMA_DEPTH: Final = 32
# They look once more at all that is beside them, so that one within another takes twice as long, or more.
_UNEVALUATED_KEYWORDS: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_UNEVALUATED_FACTOR: Final = 3
# With what is referred to in its place.
_MAX_RESOLVED_DEPTH: Final = 200
MAX_SCHEMA_PARTS: Final = 5_000
# Parts of a schema times values of the data: at worst each is held against each, at about 0.2 µs.
MAX_VALIDATION_STEPS: Final = 5_000_000
_MAX_REASON_LENGTH: Final = 300
_MAX_PATTERN_BYTES: Final = 1 << 18

# Keywords below which schemas stand: one, a list of them, or an object of them.
_SINGLE_KEYWORDS: Final = (
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LIST_KEYWORDS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_OBJECT_KEYWORDS: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
# Definitions cost nothing where they stand, only where they are referred to.
_DEFINITION_KEYWORDS: Final = frozenset({"$defs", "definitions"})
# What moves the place that a reference starts from, or cannot be followed beforehand.
_REFUSED_KEYWORDS: Final = {
    "$dynamicRef": "is not taken; use $ref",
    "$dynamicAnchor": "is not taken; use $defs",
    "$anchor": "is not taken; use $defs",
    "$recursiveRef": "is not taken; use $ref",
    "$recursiveAnchor": "is not taken; use $defs",
    "$id": "is not taken; a schema goes by its event type",
    "$vocabulary": "is not taken",
}
# What draft 7 has not, or reads otherwise.
_KEYWORDS_AFTER_DRAFT_7: Final = frozenset(
    {
        "dependentRequired",
        "dependentSchemas",
        "maxContains",
        "minContains",
        "prefixItems",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_ALLOWED_BESIDE_REF: Final = frozenset({"$ref", "$defs", "$schema", "$comment", "title", "description"})
# Of what is refused, no more than the place is told: the words may hold what others must not see.
_MASK: Final = "the value"


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """What is wrong with some data: where, as a path of names and places, and why."""

    path: tuple[str | int, ...]
    why: str

    def format_path(self, field: str) -> str:
        """The path below a field, such as `data.lines.0.price`."""
        return ".".join([field, *map(str, self.path)])


class InvalidSchema(ValueError):
    """It is no schema that is taken. `path` is where, below the schema."""

    def __init__(self, path: tuple[str | int, ...], why: str) -> None:
        """Say where and why."""
        self.path = path
        self.why = why
        super().__init__(f"{'.'.join(map(str, path)) or 'schema'}: {why}")


class Validator:
    """A schema of so many parts, ready to look at data."""

    def __init__(self, schema: dict[str, Any] | bool, *, parts: int) -> None:  # noqa: FBT001  a schema may be one
        """Raise BadSchema for what is none."""
        self._parts = parts
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema,
                validate_formats=False,
                retriever=_refuse_fetch,
                pattern_options=jsonschema_rs.RegexOptions(
                    size_limit=_MAX_PATTERN_BYTES, dfa_size_limit=_MAX_PATTERN_BYTES
                ),
                mask=_MASK,
            )
        except jsonschema_rs.ValidationError as error:
            raise InvalidSchema(tuple(error.instance_path), _format_error(error)) from None
        except ValueError as error:
            raise InvalidSchema((), str(error)[:_MAX_REASON_LENGTH]) from None

    def estimate_steps(self, data: bytes) -> int:
        """How much a check costs at worst: parts of the schema times values of the data."""
        return _estimate_values(data) * self._parts

    def find_violation(self, data: bytes) -> SchemaViolation | None:
        """The first thing that is wrong with JSON that can be read; None: it is as the schema says."""
        if self.estimate_steps(data) > MAX_VALIDATION_STEPS:
            return SchemaViolation(
                (), f"holds too many values to be validated: about {_estimate_values(data):,}"
            )
        try:
            self._validator.validate(msgspec.json.decode(data))
        except jsonschema_rs.ValidationError as error:
            return SchemaViolation(tuple(error.instance_path), _format_error(error))
        except ValueError as error:  # nested too deeply for it
            return SchemaViolation((), f"cannot be validated: {str(error)[:_MAX_REASON_LENGTH]}")
        return None


def _estimate_values(data: bytes) -> int:
    return 1 + data.count(b",") + data.count(b":")  # or fewer, since texts may hold these too


def compile_schema(schema: object) -> Validator:
    """Give a schema's validator if it is one that is taken, by the bounds above; raises BadSchema."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise InvalidSchema((), "is no JSON that can be kept") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidSchema((), f"has {len(text):,} bytes; at most {MAX_SCHEMA_BYTES:,} are taken")
    if _measure_depth(schema) > MAX_SCHEMA_DEPTH:
        raise InvalidSchema((), f"is nested deeper than {MAX_SCHEMA_DEPTH} levels")
    if not isinstance(schema, (dict, bool)):
        raise InvalidSchema((), "must be an object, true or false")
    parts = dict(_walk_schemas(schema, ()))
    for path, part in parts.items():
        _check_keywords(part, path)
    return Validator(schema, parts=_measure_size(parts))


def rebase_schema(schema: Any, pointer: str) -> Any:
    """The schema as it reads within another document, where it stands at this JSON pointer, such as `#/a/b`.

    `$schema` is left out: the document around it says it.
    """
    if not isinstance(schema, dict):
        return schema
    moved: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "$ref":
            moved[word] = pointer + value[1:]
        elif word in _SINGLE_KEYWORDS:
            moved[word] = rebase_schema(value, pointer)
        elif word in _LIST_KEYWORDS:
            moved[word] = [rebase_schema(one, pointer) for one in value]
        elif word in _OBJECT_KEYWORDS:
            moved[word] = {name: rebase_schema(one, pointer) for name, one in value.items()}
        elif word != "$schema":
            moved[word] = value
    return moved


def is_draft_7_compatible(schema: Any) -> bool:
    """Whether a schema says the same to those who know draft 7 alone."""
    for _, part in _walk_schemas(schema, ()):
        if isinstance(part, dict) and (
            not _KEYWORDS_AFTER_DRAFT_7.isdisjoint(part)
            or ("$ref" in part and not part.keys() <= _ALLOWED_BESIDE_REF)
        ):
            return False
    return True


# ------------------------------------------------------------------ bounds
_Path = tuple[str | int, ...]


def _walk_schemas(schema: object, path: _Path) -> Iterator[tuple[_Path, object]]:
    """A schema and all that are within it, by their paths."""
    yield path, schema
    for below, part in _iter_subschemas(schema):
        yield from _walk_schemas(part, path + below)


def _iter_subschemas(schema: object) -> Iterator[tuple[_Path, object]]:
    """The schemas right below one."""
    if not isinstance(schema, dict):
        return
    for word, value in schema.items():
        if word in _SINGLE_KEYWORDS:
            yield (word,), value
        elif word in _LIST_KEYWORDS and isinstance(value, list):
            for place, one in enumerate(value):
                yield (word, place), one
        elif word in _OBJECT_KEYWORDS and isinstance(value, dict):
            for name, one in value.items():
                yield (word, name), one


def _check_keywords(part: object, path: _Path) -> None:
    if not isinstance(part, dict):
        return
    for word, why in _REFUSED_KEYWORDS.items():
        if word in part:
            raise InvalidSchema((*path, word), why)
    if part.get("$schema", DIALECT) != DIALECT:
        raise InvalidSchema((*path, "$schema"), f"must be {DIALECT}, or left out")


def _measure_size(parts: Mapping[_Path, object]) -> int:
    """How many parts a schema has with whatever it refers to in its place.

    Raises BadSchema where references lead nowhere or in a circle, or all of it is too much.
    """
    places = {"/".join(["#", *map(_escape_pointer_step, path)]): path for path in parts}
    sizes: dict[_Path, int] = {}
    pending: set[_Path] = set()

    def size(path: _Path) -> int:
        if path in pending:
            raise InvalidSchema(path, "refers to itself; how much a check costs could not be bounded")
        if path not in sizes:
            if len(pending) > _MAX_RESOLVED_DEPTH:
                raise InvalidSchema(
                    path, f"is more than {_MAX_RESOLVED_DEPTH} levels deep with what it refers to"
                )
            pending.add(path)
            part = parts[path]
            found = 0
            for below, _ in _iter_subschemas(part):
                if below[0] not in _DEFINITION_KEYWORDS:
                    found += size(path + below)
            if isinstance(part, dict) and "$ref" in part:
                found += size(_resolve_ref(part["$ref"], (*path, "$ref"), places))
            found = 1 + found * (
                _UNEVALUATED_FACTOR
                if isinstance(part, dict) and not _UNEVALUATED_KEYWORDS.isdisjoint(part)
                else 1
            )
            pending.discard(path)
            sizes[path] = found
        return sizes[path]

    # Each by itself too: what nothing refers to now must not be bad either.
    most = max(map(size, parts))
    if most > MAX_SCHEMA_PARTS:
        raise InvalidSchema(
            (), f"has {most:,} parts with what it refers to; at most {MAX_SCHEMA_PARTS:,} are taken"
        )
    return sizes[()]


def _resolve_ref(ref: object, path: _Path, places: Mapping[str, _Path]) -> _Path:
    """Where a reference leads, within the schema."""
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise InvalidSchema(path, "must point into this schema, such as #/$defs/money; nothing is fetched")
    if ref not in places:
        raise InvalidSchema(path, f"leads to no schema: {ref[:80]}")
    return places[ref]


def _escape_pointer_step(step: str | int) -> str:
    """A step of a JSON pointer (RFC 6901, section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def _measure_depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_measure_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_measure_depth, value), default=0)
    return 0


def _format_error(error: jsonschema_rs.ValidationError) -> str:
    why = " ".join(error.message.split())
    return why if len(why) <= _MAX_REASON_LENGTH else f"{why[:_MAX_REASON_LENGTH]}…"


def _refuse_fetch(uri: str) -> NoReturn:
    raise ValueError(f"{uri[:80]} is not fetched")
