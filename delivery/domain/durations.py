"""Moments and durations in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def format_utc(moment: datetime) -> str:
    """Write `2026-11-22 18:27:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_rfc3339(moment: datetime) -> str:
    """Write `2026-11-22T18:27:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_duration(duration: timedelta) -> str:
    """Write a duration with as much precision as a person can use: `3 ms`, `1.2 s`, `4 min`, `2 days`."""
    seconds = duration.total_seconds()
    if seconds < 0.9995:  # noqa: PLR2004  what is above is rounded to a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004  from ten on, tenths are noise
        return f"{seconds:.2g} s"
    for unit, size in _UNITS:
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "0 s"
