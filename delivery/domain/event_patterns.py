"""Which event types an endpoint asks for: `*`, `order.created`, or `order.*` (`order.x.y` too). Pure.

And which channels: names that a producer gives an event, such as `project:1042`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_TYPE = 128
EVERYTHING = "*"
ANY_BELOW = ".*"
LONGEST_CHANNEL = 128
CHANNEL = r"[a-zA-Z0-9_.:-]{1,128}"
# Of one event, and of one endpoint.
MOST_OF_EVENT = 10
MOST_OF_ENDPOINT = 100
_CHANNEL = re.compile(CHANNEL)
_TYPE = re.compile(r"[a-zA-Z0-9_]+(?:\.[a-zA-Z0-9_]+)*")


def first_match(patterns: Sequence[str], event_type: str) -> str | None:
    """The first of these checked patterns that asks for this type; no patterns ask for nothing."""
    for pattern in patterns:
        if pattern in (EVERYTHING, event_type):
            return pattern
        if pattern.endswith(ANY_BELOW) and event_type.startswith(pattern[:-1]):
            return pattern
    return None


def matches(patterns: Sequence[str], event_type: str) -> bool:
    """Whether any of these checked patterns asks for this type."""
    return first_match(patterns, event_type) is not None


def check_event_type(text: str) -> str:
    """Give the type back if it is one, such as `order.created`; raises ValueError saying what is wrong."""
    if len(text) > LONGEST_TYPE:
        raise ValueError(f"An event type has at most {LONGEST_TYPE} characters, this one has {len(text)}.")
    if _TYPE.fullmatch(text) is None:
        raise ValueError(
            "An event type is made of letters, digits and underscores in segments joined by single dots, "
            "such as order.created."
        )
    return text


def check_pattern(text: str) -> str:
    """Give the pattern back if it is one: `*`, a type, or a type and `.*`; raises ValueError."""
    if text == EVERYTHING:
        return text
    try:
        check_event_type(text.removesuffix(ANY_BELOW))
    except ValueError as error:
        raise ValueError(
            f"A filter is *, an event type such as order.created, or a prefix such as order.*. {error}"
        ) from None
    return text


def check_channel(text: str) -> str:
    """Give the channel back if it is one; raises ValueError saying what is wrong."""
    if _CHANNEL.fullmatch(text) is None:
        raise ValueError(
            f"A channel is 1 to {LONGEST_CHANNEL} letters, digits, dots, colons, underscores and hyphens, "
            "such as project:1042."
        )
    return text
