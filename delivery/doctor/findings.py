"""What a look at one part came to: a grade, a sentence, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

# What ends within this is a warning.
SOON: Final = timedelta(days=14)


class Grade(StrEnum):
    """How a part stands. `warning`: it works, and will not always; `wrong`: it has to be mended."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how the part stands, what was seen, and what to do; empty where there is nothing.

    Neither sentence holds a password or a key: findings are pasted into tickets.
    """

    check: str
    grade: Grade
    says: str
    mend: str = ""


def ok(check: str, says: str) -> Finding:
    """This part is as it should be."""
    return Finding(check, Grade.OK, says)


def warning(check: str, says: str, mend: str) -> Finding:
    """This part works, and will not always."""
    return Finding(check, Grade.WARNING, says, mend)


def wrong(check: str, says: str, mend: str) -> Finding:
    """This part has to be mended."""
    return Finding(check, Grade.WRONG, says, mend)
