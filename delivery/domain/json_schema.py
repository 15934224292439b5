"""JSON Schemas of events' `data`: which schemas are accepted, and validation by them. Pure.

The dialect is JSON Schema 2020-12. `$ref` must point into the schema itself; nothing is ever fetched. A
schema must not refer to itself in a circle, and its parts, with all references resolved, are bounded. Data
with too many values for that number of parts is refused without validation, which takes about a second at
worst and usually a few microseconds. Patterns match in linear time (no look-around, no back-references).
`format` is an annotation: it refuses nothing.
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
# They evaluate everything beside them once more, so nesting them at least doubles the time.
_UNEVALUATED_KEYWORDS: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_UNEVALUATED_FACTOR: Final = 3
# With references resolved.
_MAX_RESOLVED_DEPTH: Final = 200
MAX_SCHEMA_PARTS: Final = 5_000
# Parts of a schema times values of the data: at worst every pair is checked, at about 0.2 µs each.
MAX_VALIDATION_STEPS: Final = 5_000_000
_MAX_REASON_LENGTH: Final = 300
_MAX_PATTERN_BYTES: Final = 1 << 18

# Keywords whose value is a schema, a list of schemas, or an object of schemas.
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
# Definitions cost only where they are referred to.
_DEFINITION_KEYWORDS: Final = frozenset({"$defs", "definitions"})
# Keywords that move the base of references, or whose target is known only during validation.
_REFUSED_KEYWORDS: Final = {
    "$dynamicRef": "is not taken; use $ref",
    "$dynamicAnchor": "is not taken; use $defs",
    "$anchor": "is not taken; use $defs",
    "$recursiveRef": "is not taken; use $ref",
    "$recursiveAnchor": "is not taken; use $defs",
    "$id": "is not taken; a schema goes by its event type",
    "$vocabulary": "is not taken",
}
# Keywords that draft 7 lacks or interprets differently.
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
# Messages do not quote refused values, which may be confidential.
_MASK: Final = "the value"


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """The first violation in some data: its path of names and indexes, and why."""

    path: tuple[str | int, ...]
    why: str

    def format_path(self, field: str) -> str:
        """The path below a field, such as `data.lines.0.price`."""
        return ".".join([field, *map(str, self.path)])


class InvalidSchema(ValueError):
    """The schema is not accepted. `path` is the place in the schema."""

    def __init__(self, path: tuple[str | int, ...], why: str) -> None:
        """Say where and why."""
        self.path = path
        self.why = why
        super().__init__(f"{'.'.join(map(str, path)) or 'schema'}: {why}")


class Validator:
    """A compiled schema."""

    def __init__(self, schema: dict[str, Any] | bool, *, parts: int) -> None:  # noqa: FBT001  a schema may be one
        """`parts` is the schema's size. Raises InvalidSchema."""
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
        """The worst-case cost of a validation: parts of the schema times values of the data."""
        return _estimate_values(data) * self._parts

    def find_violation(self, data: bytes) -> SchemaViolation | None:
        """Validate JSON data; returns the first violation, or None."""
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
    """Check a schema against the bounds above and compile it; raises InvalidSchema."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise InvalidSchema((), "is not JSON that can be stored") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidSchema((), f"has {len(text):,} bytes; at most {MAX_SCHEMA_BYTES:,} are allowed")
    if _measure_depth(schema) > MAX_SCHEMA_DEPTH:
        raise InvalidSchema((), f"is nested deeper than {MAX_SCHEMA_DEPTH} levels")
    if not isinstance(schema, (dict, bool)):
        raise InvalidSchema((), "must be an object, true or false")
    parts = dict(_walk_schemas(schema, ()))
    for path, part in parts.items():
        _check_keywords(part, path)
    return Validator(schema, parts=_measure_size(parts))


def rebase_schema(schema: Any, pointer: str) -> Any:
    """The schema with its references rebased to this JSON pointer, such as `#/a/b`, of another document.

    `$schema` is left out: the document has its own.
    """
    if not isinstance(schema, dict):
        return schema
    rebased: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$ref":
            rebased[keyword] = pointer + value[1:]
        elif keyword in _SINGLE_KEYWORDS:
            rebased[keyword] = rebase_schema(value, pointer)
        elif keyword in _LIST_KEYWORDS:
            rebased[keyword] = [rebase_schema(part, pointer) for part in value]
        elif keyword in _OBJECT_KEYWORDS:
            rebased[keyword] = {name: rebase_schema(part, pointer) for name, part in value.items()}
        elif keyword != "$schema":
            rebased[keyword] = value
    return rebased


def is_draft_7_compatible(schema: Any) -> bool:
    """Whether the schema means the same in draft 7."""
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
    """Yield a schema and all its subschemas with their paths."""
    yield path, schema
    for below, part in _iter_subschemas(schema):
        yield from _walk_schemas(part, path + below)


def _iter_subschemas(schema: object) -> Iterator[tuple[_Path, object]]:
    """Yield the direct subschemas of a schema."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in _SINGLE_KEYWORDS:
            yield (keyword,), value
        elif keyword in _LIST_KEYWORDS and isinstance(value, list):
            for index, part in enumerate(value):
                yield (keyword, index), part
        elif keyword in _OBJECT_KEYWORDS and isinstance(value, dict):
            for name, part in value.items():
                yield (keyword, name), part


def _check_keywords(part: object, path: _Path) -> None:
    if not isinstance(part, dict):
        return
    for keyword, reason in _REFUSED_KEYWORDS.items():
        if keyword in part:
            raise InvalidSchema((*path, keyword), reason)
    if part.get("$schema", DIALECT) != DIALECT:
        raise InvalidSchema((*path, "$schema"), f"must be {DIALECT}, or left out")


def _measure_size(parts: Mapping[_Path, object]) -> int:
    """The number of parts of a schema with its references resolved.

    Raises InvalidSchema for a reference that leads nowhere or in a circle, and for too many parts.
    """
    places = {"/".join(["#", *map(_escape_pointer_step, path)]): path for path in parts}
    sizes: dict[_Path, int] = {}
    pending: set[_Path] = set()

    def size(path: _Path) -> int:
        if path in pending:
            raise InvalidSchema(path, "refers to itself, which is not supported")
        if path not in sizes:
            if len(pending) > _MAX_RESOLVED_DEPTH:
                raise InvalidSchema(
                    path, f"is more than {_MAX_RESOLVED_DEPTH} levels deep including references"
                )
            pending.add(path)
            part = parts[path]
            count = 0
            for below, _ in _iter_subschemas(part):
                if below[0] not in _DEFINITION_KEYWORDS:
                    count += size(path + below)
            if isinstance(part, dict) and "$ref" in part:
                count += size(_resolve_ref(part["$ref"], (*path, "$ref"), places))
            count = 1 + count * (
                _UNEVALUATED_FACTOR
                if isinstance(part, dict) and not _UNEVALUATED_KEYWORDS.isdisjoint(part)
                else 1
            )
            pending.discard(path)
            sizes[path] = count
        return sizes[path]

    # Measure every part, including unused definitions.
    largest = max(map(size, parts))
    if largest > MAX_SCHEMA_PARTS:
        raise InvalidSchema(
            (), f"has {largest:,} parts including references; at most {MAX_SCHEMA_PARTS:,} are allowed"
        )
    return sizes[()]


def _resolve_ref(ref: object, path: _Path, places: Mapping[str, _Path]) -> _Path:
    """The path to which a reference points."""
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise InvalidSchema(
            path, "must point into this schema, such as #/$defs/money; other documents are not fetched"
        )
    if ref not in places:
        raise InvalidSchema(path, f"does not point to a schema: {ref[:80]}")
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
    message = " ".join(error.message.split())
    return message if len(message) <= _MAX_REASON_LENGTH else f"{message[:_MAX_REASON_LENGTH]}…"


def _refuse_fetch(uri: str) -> NoReturn:
    raise ValueError(f"{uri[:80]} is not fetched")
