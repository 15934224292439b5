"""The result of one check: a severity, a sentence, and the remedy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

# Keys and certificates that end within this time are a warning.
EXPIRY_WARNING_PERIOD: Final = timedelta(days=14)


class Severity(StrEnum):
    """`warning`: the part works, but will not for ever; `wrong`: it has to be fixed."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, its severity, what was found, and the remedy, if any.

    Neither text holds a password or a key, because findings are pasted into tickets.
    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    """This part is as it should be."""
    return Finding(check, Severity.OK, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """This part works, but will not for ever."""
    return Finding(check, Severity.WARNING, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """This part has to be fixed."""
    return Finding(check, Severity.ERROR, message, remedy)
