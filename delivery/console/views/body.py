"""Bodies as people read them. Pure, and true to the bytes: numbers and doubled keys stay as sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MOST_SHOWN: Final = 65_536
_DEEPEST: Final = 100
_STEP: Final = "  "
# A string, a structural letter, or whatever else is no white space.
_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')
_ODD: Final = re.compile(r'[\[\]{}:,]|"(?:[^"\\]|\\.)*"|[^\s\[\]{}:,"]+|\s+')


@dataclass(frozen=True, slots=True)
class Shown:
    """A body for a page: its text, laid out where it is JSON. `cut`: there is more than is shown."""

    text: str
    raw: str
    size: int
    is_text: bool
    cut: bool


def shown(body: bytes) -> Shown:
    """Lay a body out; what is no text is shown as hexadecimal."""
    cut = len(body) > MOST_SHOWN
    some = body[:MOST_SHOWN]
    try:
        raw = some.decode(errors="ignore" if cut else "strict")
    except UnicodeDecodeError:
        return Shown(_dump(some), _dump(some), len(body), is_text=False, cut=cut)
    return Shown(raw if cut else laid_out(raw), raw, len(body), is_text=True, cut=cut)


def laid_out(text: str) -> str:
    """JSON with each member on a line of its own; anything else comes back as it was."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")) or "".join(_ODD.findall(stripped)) != stripped:
        return text
    lines: list[str] = [""]
    depth = 0
    parts = _PART.findall(stripped)
    for place, part in enumerate(parts):
        before = parts[place - 1] if place else ""
        if part in "}]":
            depth -= 1
            if before not in ("{", "["):
                lines.append(_STEP * depth)
        lines[-1] += part
        following = parts[place + 1] if place + 1 < len(parts) else ""
        if part in "{[":
            depth += 1
            if following not in ("}", "]"):
                lines.append(_STEP * depth)
        elif part == ",":
            lines.append(_STEP * depth)
        elif part == ":":
            lines[-1] += " "
        if not 0 <= depth <= _DEEPEST:
            return text
    return "\n".join(lines)


def _dump(body: bytes) -> str:
    rows = (body[start : start + 16] for start in range(0, len(body), 16))
    return "\n".join(row.hex(" ") for row in rows)
