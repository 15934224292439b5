"""E-mail addresses and names of people, as they are kept. Pure."""

from __future__ import annotations

import re
from typing import Final

from delivery.domain.errors import Invalid
from delivery.domain.validation import check_text, validating_field

MAX_EMAIL_LENGTH: Final = 254  # RFC 5321, as RFC 3696's erratum 1690 says
MAX_NAME_LENGTH: Final = 100
# Enough to tell a name from a typing error: whether an address exists only its mail server knows.
_EMAIL_PATTERN = re.compile(r"[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+@[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+")
# The audit writes `Name <address>`: no name may look like another one with its address.
_FORBIDDEN_IN_NAME = re.compile("[<>\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def normalize_email(text: str) -> str:
    """An address in the form in which it is kept and compared."""
    return text.strip().lower()


def parse_email_or_none(text: str) -> str | None:
    """An address in the form in which accounts keep it; None for what no account can have."""
    try:
        return check_email(text)
    except Invalid:
        return None


def check_email(text: str) -> str:
    """The address of an account as it is kept; raises Invalid."""
    with validating_field("email"):
        email = check_text(normalize_email(text), min_length=3, max_length=MAX_EMAIL_LENGTH)
        if _EMAIL_PATTERN.fullmatch(email) is None:
            raise ValueError("must be of the form name@example.com")
    return email


def check_name(text: str, *, field_name: str = "name") -> str:
    """What somebody is called, or what a link is for; raises Invalid, which names this field."""
    with validating_field(field_name):
        called = check_text(text.strip(), min_length=1, max_length=MAX_NAME_LENGTH)
        if _FORBIDDEN_IN_NAME.search(called):
            raise ValueError("must not contain < > or control characters")
    return called
