"""Search by payload: a path into the event's `data` and the value there. Pure.

The path is a singular query of JSONPath (RFC 9535, section 2.3.5.1): `$.order.id`, `$.items[0].sku`,
`$['odd name']`. Values are equal as JSON values: 1 equals 1.0, and no number equals a boolean.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

MAX_PAYLOAD_FILTER_LENGTH = 500
# Not compiled here: that takes 5 ms, and most commands read no path.
_NAME: Final = r"\.([A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff-]*)"
_INDEX: Final = r"\[(0|[1-9][0-9]{0,8})\]"
_QUOTED: Final = r"""\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]"""
# Replays store their filters, and PostgreSQL's JSON takes neither; as JSON escapes, both pass.
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class PayloadEquals:
    """A filter on the payload: the value at `path` below `data` equals `value` (JSON). `text`: its source."""

    text: str
    path: tuple[str | int, ...]
    value: str

    @classmethod
    def parse(cls, text: str) -> PayloadEquals:
        """Parse `$.order.id=1042`; a value that is not JSON is taken as a string. Raises ValueError."""
        if len(text) > MAX_PAYLOAD_FILTER_LENGTH:
            raise ValueError(f"must have at most {MAX_PAYLOAD_FILTER_LENGTH} characters, not {len(text)}")
        if _UNSTORABLE.search(text):
            raise ValueError("must not contain a NUL character or half of a surrogate pair")
        path, rest = _parse_path(text)
        if not rest.startswith("="):
            raise ValueError(
                "must be a path from the event's data and a value, such as $.order.id=1042 or $.sku=A1"
            )
        return cls(text, path, _parse_value(rest.removeprefix("=")))

    def matches(self, body: bytes) -> bool:
        """Whether an event with this body matches; never raises, whatever the bytes are."""
        try:
            value: Any = json.loads(body, parse_float=Decimal, parse_int=Decimal)["data"]
            expected = json.loads(self.value, parse_float=Decimal, parse_int=Decimal)
        except (ValueError, TypeError, KeyError, RecursionError, ArithmeticError):
            return False
        for step in self.path:
            value = _descend(value, step)
            if value is _MISSING:
                return False
        return _is_equal(value, expected)


def extract_data(body: bytes) -> bytes:
    """The bytes of `data` in an event's body; empty if the body has none."""
    try:
        return bytes(_envelope.decode(body).data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return b""


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)


def _parse_path(text: str) -> tuple[tuple[str | int, ...], str]:
    """The steps of the path at the beginning of a text, and the rest after it."""
    if not text.startswith("$"):
        raise ValueError("must begin with $, which is the event's data, such as $.order.id=1042")
    steps: list[str | int] = []
    rest = text[1:]
    while rest and not rest.startswith("="):
        if (match := re.match(_NAME, rest)) is not None:
            steps.append(match[1])
        elif (match := re.match(_INDEX, rest)) is not None:
            steps.append(int(match[1]))
        elif (match := re.match(_QUOTED, rest)) is not None:
            steps.append(_unquote(match))
        else:
            raise ValueError(f"cannot be read from {rest[:20]!r} on; write .name, [0] or ['a name']")
        rest = rest[match.end() :]
    return tuple(steps), rest


def _unquote(match: re.Match[str]) -> str:
    single, double = match[1], match[2]
    inner = single.replace("\\'", "'").replace('"', '\\"') if double is None else double
    name: str = json.loads(f'"{inner}"')
    return name


def _parse_value(text: str) -> str:
    """The text itself if it is JSON, otherwise the text as a JSON string."""
    try:
        json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_reject_constant)
    except (ValueError, RecursionError, ArithmeticError):
        return json.dumps(text)
    return text


def _reject_constant(name: str) -> object:
    raise ValueError(name)


def _descend(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
    return value[step] if isinstance(value, list) and step < len(value) else _MISSING


def _is_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values; `Decimal` compares numbers exactly, and `True` would equal 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_is_equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    return type(left) is type(right) and bool(left == right)
