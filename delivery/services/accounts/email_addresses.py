"""E-mail addresses and names of people, as they are kept. Pure."""

from __future__ import annotations

import re
from typing import Final

from delivery.checks import check_text, field
from delivery.errors import Invalid

LONGEST_EMAIL: Final = 254  # RFC 5321, as RFC 3696's erratum 1690 says
LONGEST_NAME: Final = 100
# Enough to tell a name from a typing error: whether an address exists only its mail server knows.
_EMAIL = re.compile(r"[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+@[^\s@<>\"(),:;\\\x00-\x1f\x7f-\x9f]+")
# The audit writes `Name <address>`: no name may look like another one with its address.
_UNFIT = re.compile("[<>\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain_email(text: str) -> str:
    """An address in the form in which it is kept and compared."""
    return text.strip().lower()


def known_form(text: str) -> str | None:
    """An address in the form in which accounts keep it; None for what no account can have."""
    try:
        return check_email(text)
    except Invalid:
        return None


def check_email(text: str) -> str:
    """The address of an account as it is kept; raises Invalid."""
    with field("email"):
        email = check_text(plain_email(text), least=3, most=LONGEST_EMAIL)
        if _EMAIL.fullmatch(email) is None:
            raise ValueError("must be of the form name@example.com")
    return email


def check_name(text: str, *, name: str = "name") -> str:
    """What somebody is called, or what a link is for; raises Invalid, which names this field."""
    with field(name):
        called = check_text(text.strip(), least=1, most=LONGEST_NAME)
        if _UNFIT.search(called):
            raise ValueError("must not contain < > or control characters")
    return called
