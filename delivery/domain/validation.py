"""What people may write into a field, the same at every door. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from delivery.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REASON_LENGTH = 500


def check_text(text: str, *, max_length: int, min_length: int = 0) -> str:
    """Give the text back if it can be stored: length within bounds, not blank, no NUL, no half characters.

    Raises ValueError saying what is wrong.
    """
    if not min_length <= len(text) <= max_length:
        raise ValueError(f"must have {min_length} to {max_length} characters, not {len(text)}")
    if min_length and not text.strip():
        raise ValueError("must not be blank")
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must not contain half of a surrogate pair")
    return text


@contextmanager
def validating_field(name: str) -> Iterator[None]:
    """Turn a ValueError from inside the block into Invalid, which names this field."""
    try:
        yield
    except ValueError as error:
        raise Invalid(name, str(error)) from error


def check_reason(text: str | None) -> str | None:
    """Why somebody does something, in their own words; raises Invalid, which names the field `reason`."""
    with validating_field("reason"):
        return None if text is None else check_text(text, max_length=MAX_REASON_LENGTH)
