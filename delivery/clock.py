"""The engine's only clock. Processes, commands and the wiring take it from here and pass it on."""

from __future__ import annotations

from datetime import UTC, datetime


def clock() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)
