"""Event types, patterns of them (`*`, `order.*`), and channels such as `project:1042`. Pure.

`order.*` matches `order.created` and `order.line.added`. Channels are names that a producer gives an event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_EVENT_TYPE_LENGTH = 128
MATCH_ALL = "*"
WILDCARD_SUFFIX = ".*"
MAX_CHANNEL_LENGTH = 128
CHANNEL_PATTERN = r"[a-zA-Z0-9_.:-]{1,128}"
MAX_CHANNELS_PER_EVENT = 10
MAX_CHANNELS_PER_ENDPOINT = 100
_CHANNEL = re.compile(CHANNEL_PATTERN)
_TYPE = re.compile(r"[a-zA-Z0-9_]+(?:\.[a-zA-Z0-9_]+)*")


def find_matching_pattern(patterns: Sequence[str], event_type: str) -> str | None:
    """The first pattern that matches this type, or None."""
    for pattern in patterns:
        if pattern in (MATCH_ALL, event_type):
            return pattern
        if pattern.endswith(WILDCARD_SUFFIX) and event_type.startswith(pattern[:-1]):
            return pattern
    return None


def matches_any_pattern(patterns: Sequence[str], event_type: str) -> bool:
    """Whether any pattern matches this type."""
    return find_matching_pattern(patterns, event_type) is not None


def check_event_type(text: str) -> str:
    """Return the text if it is an event type; raises ValueError with the reason."""
    if len(text) > MAX_EVENT_TYPE_LENGTH:
        raise ValueError(
            f"An event type has at most {MAX_EVENT_TYPE_LENGTH} characters, this one has {len(text)}."
        )
    if _TYPE.fullmatch(text) is None:
        raise ValueError(
            "An event type is made of letters, digits and underscores in segments joined by single dots, "
            "such as order.created."
        )
    return text


def check_pattern(text: str) -> str:
    """Return the text if it is a pattern: `*`, a type, or a type and `.*`; raises ValueError."""
    if text == MATCH_ALL:
        return text
    try:
        check_event_type(text.removesuffix(WILDCARD_SUFFIX))
    except ValueError as error:
        raise ValueError(
            f"A filter is *, an event type such as order.created, or a prefix such as order.*. {error}"
        ) from None
    return text


def check_channel(text: str) -> str:
    """Return the text if it is a channel; raises ValueError with the reason."""
    if _CHANNEL.fullmatch(text) is None:
        raise ValueError(
            f"A channel is 1 to {MAX_CHANNEL_LENGTH} letters, digits, dots, colons, underscores and hyphens, "
            "such as project:1042."
        )
    return text
