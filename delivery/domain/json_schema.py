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
MOST_BYTES: Final = 65_536
DEEPEST: Final = 32
# They look once more at all that is beside them, so that one within another takes twice as long, or more.
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_AGAIN: Final = 3
# With what is referred to in its place.
_DEEPEST_IN_ALL: Final = 200
MOST_PARTS: Final = 5_000
# Parts of a schema times values of the data: at worst each is held against each, at about 0.2 µs.
MOST_STEPS: Final = 5_000_000
_LONGEST_WHY: Final = 300
_PATTERN_BYTES: Final = 1 << 18

# Keywords below which schemas stand: one, a list of them, or an object of them.
_ONE: Final = (
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
_LIST: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_OBJECT: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
# Definitions cost nothing where they stand, only where they are referred to.
_DEFINITIONS: Final = frozenset({"$defs", "definitions"})
# What moves the place that a reference starts from, or cannot be followed beforehand.
_REFUSED: Final = {
    "$dynamicRef": "is not taken; use $ref",
    "$dynamicAnchor": "is not taken; use $defs",
    "$anchor": "is not taken; use $defs",
    "$recursiveRef": "is not taken; use $ref",
    "$recursiveAnchor": "is not taken; use $defs",
    "$id": "is not taken; a schema goes by its event type",
    "$vocabulary": "is not taken",
}
# What draft 7 has not, or reads otherwise.
_NEWER: Final = frozenset(
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
_BESIDE_REF: Final = frozenset({"$ref", "$defs", "$schema", "$comment", "title", "description"})
# Of what is refused, no more than the place is told: the words may hold what others must not see.
_MASK: Final = "the value"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with some data: where, as a path of names and places, and why."""

    path: tuple[str | int, ...]
    why: str

    def within(self, field: str) -> str:
        """The path below a field, such as `data.lines.0.price`."""
        return ".".join([field, *map(str, self.path)])


class BadSchema(ValueError):
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
                retriever=_fetch_nothing,
                pattern_options=jsonschema_rs.RegexOptions(
                    size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES
                ),
                mask=_MASK,
            )
        except jsonschema_rs.ValidationError as error:
            raise BadSchema(tuple(error.instance_path), _told(error)) from None
        except ValueError as error:
            raise BadSchema((), str(error)[:_LONGEST_WHY]) from None

    def steps(self, data: bytes) -> int:
        """How much a check costs at worst: parts of the schema times values of the data."""
        return _values(data) * self._parts

    def fault(self, data: bytes) -> Fault | None:
        """The first thing that is wrong with JSON that can be read; None: it is as the schema says."""
        if self.steps(data) > MOST_STEPS:
            return Fault((), f"holds too many values to be validated: about {_values(data):,}")
        try:
            self._validator.validate(msgspec.json.decode(data))
        except jsonschema_rs.ValidationError as error:
            return Fault(tuple(error.instance_path), _told(error))
        except ValueError as error:  # nested too deeply for it
            return Fault((), f"cannot be validated: {str(error)[:_LONGEST_WHY]}")
        return None


def _values(data: bytes) -> int:
    return 1 + data.count(b",") + data.count(b":")  # or fewer, since texts may hold these too


def check_schema(schema: object) -> Validator:
    """Give a schema's validator if it is one that is taken, by the bounds above; raises BadSchema."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise BadSchema((), "is no JSON that can be kept") from None
    if len(text) > MOST_BYTES:
        raise BadSchema((), f"has {len(text):,} bytes; at most {MOST_BYTES:,} are taken")
    if _depth(schema) > DEEPEST:
        raise BadSchema((), f"is nested deeper than {DEEPEST} levels")
    if not isinstance(schema, (dict, bool)):
        raise BadSchema((), "must be an object, true or false")
    parts = dict(_parts(schema, ()))
    for path, part in parts.items():
        _check_words(part, path)
    return Validator(schema, parts=_size(parts))


def rebased(schema: Any, base: str) -> Any:
    """The schema as it reads within another document, where it stands at this JSON pointer, such as `#/a/b`.

    `$schema` is left out: the document around it says it.
    """
    if not isinstance(schema, dict):
        return schema
    moved: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "$ref":
            moved[word] = base + value[1:]
        elif word in _ONE:
            moved[word] = rebased(value, base)
        elif word in _LIST:
            moved[word] = [rebased(one, base) for one in value]
        elif word in _OBJECT:
            moved[word] = {name: rebased(one, base) for name, one in value.items()}
        elif word != "$schema":
            moved[word] = value
    return moved


def reads_alike(schema: Any) -> bool:
    """Whether a schema says the same to those who know draft 7 alone."""
    for _, part in _parts(schema, ()):
        if isinstance(part, dict) and (
            not _NEWER.isdisjoint(part) or ("$ref" in part and not part.keys() <= _BESIDE_REF)
        ):
            return False
    return True


# ------------------------------------------------------------------ bounds
_Path = tuple[str | int, ...]


def _parts(schema: object, path: _Path) -> Iterator[tuple[_Path, object]]:
    """A schema and all that are within it, by their paths."""
    yield path, schema
    for below, part in _below(schema):
        yield from _parts(part, path + below)


def _below(schema: object) -> Iterator[tuple[_Path, object]]:
    """The schemas right below one."""
    if not isinstance(schema, dict):
        return
    for word, value in schema.items():
        if word in _ONE:
            yield (word,), value
        elif word in _LIST and isinstance(value, list):
            for place, one in enumerate(value):
                yield (word, place), one
        elif word in _OBJECT and isinstance(value, dict):
            for name, one in value.items():
                yield (word, name), one


def _check_words(part: object, path: _Path) -> None:
    if not isinstance(part, dict):
        return
    for word, why in _REFUSED.items():
        if word in part:
            raise BadSchema((*path, word), why)
    if part.get("$schema", DIALECT) != DIALECT:
        raise BadSchema((*path, "$schema"), f"must be {DIALECT}, or left out")


def _size(parts: Mapping[_Path, object]) -> int:
    """How many parts a schema has with whatever it refers to in its place.

    Raises BadSchema where references lead nowhere or in a circle, or all of it is too much.
    """
    places = {"/".join(["#", *map(_escaped, path)]): path for path in parts}
    sizes: dict[_Path, int] = {}
    pending: set[_Path] = set()

    def size(path: _Path) -> int:
        if path in pending:
            raise BadSchema(path, "refers to itself; how much a check costs could not be bounded")
        if path not in sizes:
            if len(pending) > _DEEPEST_IN_ALL:
                raise BadSchema(path, f"is more than {_DEEPEST_IN_ALL} levels deep with what it refers to")
            pending.add(path)
            part = parts[path]
            found = 0
            for below, _ in _below(part):
                if below[0] not in _DEFINITIONS:
                    found += size(path + below)
            if isinstance(part, dict) and "$ref" in part:
                found += size(_target(part["$ref"], (*path, "$ref"), places))
            found = 1 + found * (
                _AGAIN if isinstance(part, dict) and not _UNEVALUATED.isdisjoint(part) else 1
            )
            pending.discard(path)
            sizes[path] = found
        return sizes[path]

    # Each by itself too: what nothing refers to now must not be bad either.
    most = max(map(size, parts))
    if most > MOST_PARTS:
        raise BadSchema((), f"has {most:,} parts with what it refers to; at most {MOST_PARTS:,} are taken")
    return sizes[()]


def _target(ref: object, path: _Path, places: Mapping[str, _Path]) -> _Path:
    """Where a reference leads, within the schema."""
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise BadSchema(path, "must point into this schema, such as #/$defs/money; nothing is fetched")
    if ref not in places:
        raise BadSchema(path, f"leads to no schema: {ref[:80]}")
    return places[ref]


def _escaped(step: str | int) -> str:
    """A step of a JSON pointer (RFC 6901, section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _told(error: jsonschema_rs.ValidationError) -> str:
    why = " ".join(error.message.split())
    return why if len(why) <= _LONGEST_WHY else f"{why[:_LONGEST_WHY]}…"


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri[:80]} is not fetched")
