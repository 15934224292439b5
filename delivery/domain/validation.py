"""Checks of the text fields that several use cases share: names, descriptions, reasons, overlaps. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME_LENGTH: Final = 200
MAX_REASON_LENGTH: Final = 500
MAX_OVERLAP: Final = timedelta(days=30)


@contextmanager
def validating_field(name: str) -> Iterator[None]:
    """Turn a ValueError raised in the block into Invalid for this field."""
    try:
        yield
    except ValueError as error:
        raise Invalid(name, str(error)) from error


def check_text(text: str, *, max_length: int, min_length: int = 0) -> str:
    """Return the text if PostgreSQL can store it: length in bounds, not blank, no NUL, no lone surrogate.

    Raises ValueError with the reason.
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


def check_name(text: str) -> str:
    """Check the name of a tenant or an API key; raises Invalid for the field `name`."""
    with validating_field("name"):
        return check_text(text, min_length=1, max_length=MAX_NAME_LENGTH)


def check_description(text: str, *, max_length: int) -> str:
    """Check a description, which may be empty; raises Invalid for the field `description`."""
    with validating_field("description"):
        return check_text(text, max_length=max_length)


@contextmanager
def prefixing_field(prefix: str) -> Iterator[None]:
    """Raise Invalid from inside the block under a longer path: `selection.type` for `type`."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{prefix}.{error.field}", error.why) from None


def check_reason(text: str | None) -> str | None:
    """Check the reason that a user gives for an action; raises Invalid for the field `reason`."""
    with validating_field("reason"):
        return None if text is None else check_text(text, max_length=MAX_REASON_LENGTH)


def check_overlap(overlap: timedelta | None, *, default: timedelta) -> timedelta:
    """How long a rotated key or secret stays valid beside its successor.

    None means the operator's default. Raises Invalid for the field `overlap_hours`.
    """
    if overlap is None:
        return default
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap_hours", f"must be from 0 to {MAX_OVERLAP.days * 24} hours")
    return overlap
