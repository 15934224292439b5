"""What a look at one part came to: a grade, a sentence, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

# What ends within this is a warning.
EXPIRY_WARNING_PERIOD: Final = timedelta(days=14)


class Severity(StrEnum):
    """How a part stands. `warning`: it works, and will not always; `wrong`: it has to be mended."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how the part stands, what was seen, and what to do; empty where there is nothing.

    Neither sentence holds a password or a key: findings are pasted into tickets.
    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    """This part is as it should be."""
    return Finding(check, Severity.OK, says)


def warn(check: str, says: str, mend: str) -> Finding:
    """This part works, and will not always."""
    return Finding(check, Severity.WARNING, says, mend)


def fail(check: str, says: str, mend: str) -> Finding:
    """This part has to be mended."""
    return Finding(check, Severity.ERROR, says, mend)
