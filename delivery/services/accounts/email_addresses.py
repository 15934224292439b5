"""E-mail addresses and display names of users, normalized and checked. Pure."""

from __future__ import annotations

import re
from typing import Final

from delivery.domain.errors import Invalid
from delivery.domain.validation import check_text, validating_field

MAX_EMAIL_LENGTH: Final = 254  # RFC 5321, as corrected by erratum 1690 of RFC 3696
MAX_DISPLAY_NAME_LENGTH: Final = 100
# It only tells an address from a typing error; whether it exists is known to its mail server alone.
_EMAIL_PATTERN: Final = re.compile(
    r"[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+@[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+"
)
# The audit writes `Name <address>`: a name must not be able to imitate another user's.
_FORBIDDEN_IN_NAME: Final = re.compile(
    "[<>\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def normalize_email(text: str) -> str:
    """The form in which addresses are stored and compared."""
    return text.strip().lower()


def parse_email_or_none(text: str) -> str | None:
    """The normalized address, or None for text that cannot be an account's address."""
    try:
        return check_email(text)
    except Invalid:
        return None


def check_email(text: str) -> str:
    """Check and normalize the address of an account; raises Invalid for the field `email`."""
    with validating_field("email"):
        email = check_text(normalize_email(text), min_length=3, max_length=MAX_EMAIL_LENGTH)
        if _EMAIL_PATTERN.fullmatch(email) is None:
            raise ValueError("must be of the form name@example.com")
    return email


def check_display_name(text: str, *, field_name: str = "name") -> str:
    """Check the name of a user or the label of a portal link; raises Invalid for this field."""
    with validating_field(field_name):
        name = check_text(text.strip(), min_length=1, max_length=MAX_DISPLAY_NAME_LENGTH)
        if _FORBIDDEN_IN_NAME.search(name):
            raise ValueError("must not contain < > or control characters")
    return name
