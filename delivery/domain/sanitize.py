"""Escapes control characters in untrusted text before it reaches a terminal or a log. Pure.

Names, URLs, paths and responses may contain them: they could control the terminal or forge a log line.
"""

from __future__ import annotations

import re
from typing import Final

# C0 and C1 controls, line separators, and characters that change the direction of text.
_UNSAFE_CHARS: Final = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL: Final = re.compile(f"[\x00-\x1f{_UNSAFE_CHARS}]")
_CONTROL_EXCEPT_NEWLINES: Final = re.compile(f"[\x00-\x08\x0b-\x1f{_UNSAFE_CHARS}]")
_UNSAFE_NON_ASCII: Final = re.compile(f"[{_UNSAFE_CHARS}]")


def escape_control_chars(text: str, *, keep_newlines: bool = False) -> str:
    """The text with control characters as escapes; `keep_newlines` keeps line ends and tabs."""
    pattern = _CONTROL_EXCEPT_NEWLINES if keep_newlines else _CONTROL
    return pattern.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def escape_control_chars_in_json(document: str) -> str:
    """The same JSON document with these characters as escapes; JSON itself escapes those below a space."""
    return _UNSAFE_NON_ASCII.sub(lambda match: f"\\u{ord(match[0]):04x}", document)
