"""What people may write into a field, the same at every door. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from delivery.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_REASON = 500


def check_text(text: str, *, most: int, least: int = 0) -> str:
    """Give the text back if it can be stored: length within bounds, not blank, no NUL, no half characters.

    Raises ValueError saying what is wrong.
    """
    if not least <= len(text) <= most:
        raise ValueError(f"must have {least} to {most} characters, not {len(text)}")
    if least and not text.strip():
        raise ValueError("must not be blank")
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must not contain half of a surrogate pair")
    return text


@contextmanager
def field(name: str) -> Iterator[None]:
    """Turn a ValueError from inside the block into Invalid, which names this field."""
    try:
        yield
    except ValueError as error:
        raise Invalid(name, str(error)) from error


def checked_reason(text: str | None) -> str | None:
    """Why somebody does something, in their own words; raises Invalid, which names the field `reason`."""
    with field("reason"):
        return None if text is None else check_text(text, most=LONGEST_REASON)
