"""Format bodies for display. Pure; numbers and duplicate keys stay exactly as sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_SHOWN_BYTES: Final = 65_536
_MAX_DEPTH: Final = 100
_INDENT: Final = "  "
# A string, a structural character, or any other run without white space.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')
_TOKEN_OR_SPACE: Final = re.compile(r'[\[\]{}:,]|"(?:[^"\\]|\\.)*"|[^\s\[\]{}:,"]+|\s+')


@dataclass(frozen=True, slots=True)
class FormattedBody:
    """A body for a page; JSON is indented in `text`. `is_truncated`: only the beginning is shown."""

    text: str
    raw: str
    size: int
    is_text: bool
    is_truncated: bool


def format_body(body: bytes) -> FormattedBody:
    """Format a body for display; bytes that are not UTF-8 become hexadecimal."""
    is_truncated = len(body) > MAX_SHOWN_BYTES
    head = body[:MAX_SHOWN_BYTES]
    try:
        raw = head.decode(errors="ignore" if is_truncated else "strict")
    except UnicodeDecodeError:
        return FormattedBody(
            _format_hex(head), _format_hex(head), len(body), is_text=False, is_truncated=is_truncated
        )
    return FormattedBody(
        raw if is_truncated else format_json(raw), raw, len(body), is_text=True, is_truncated=is_truncated
    )


def format_json(text: str) -> str:
    """Indent JSON, also an incomplete one such as a truncated response; return other text unchanged."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")) or "".join(_TOKEN_OR_SPACE.findall(stripped)) != stripped:
        return text
    lines: list[str] = [""]
    depth = 0
    parts = _TOKEN.findall(stripped)
    for place, part in enumerate(parts):
        before = parts[place - 1] if place else ""
        if part in "}]":
            depth -= 1
            if before not in ("{", "["):
                lines.append(_INDENT * depth)
        lines[-1] += part
        following = parts[place + 1] if place + 1 < len(parts) else ""
        if part in "{[":
            depth += 1
            if following not in ("}", "]"):
                lines.append(_INDENT * depth)
        elif part == ",":
            lines.append(_INDENT * depth)
        elif part == ":":
            lines[-1] += " "
        if not 0 <= depth <= _MAX_DEPTH:
            return text
    return "\n".join(lines)


def _format_hex(body: bytes) -> str:
    rows = (body[start : start + 16] for start in range(0, len(body), 16))
    return "\n".join(row.hex(" ") for row in rows)
