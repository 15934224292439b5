"""Fields that several forms share. Pure."""

from __future__ import annotations

from typing import Final

from delivery.domain.errors import Invalid

_MAX_DIGITS: Final = 6


def parse_whole_number(text: str, field: str, error: str, *, max_digits: int = _MAX_DIGITS) -> int | None:
    """Parse decimal digits; None for an empty field. Raises Invalid with `error` for anything else."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > max_digits:
        raise Invalid(field, error)
    return int(text)
