"""Parses and formats times and durations. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS_PER_UNIT: Final = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
_DISPLAY_UNITS: Final = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_DURATION_PATTERN: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)( ?)(d|h|min|m|s)?")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # ids hold no earlier time


def parse_duration(text: str, *, default_unit: str | None = None, allow_space: bool = False) -> timedelta:
    """Read `90s`, `1.5h`, `5min` or `7d`.

    With `default_unit` a bare number is accepted; with `allow_space` also `5 min`. Raises ValueError.
    """
    match = _DURATION_PATTERN.fullmatch(text)
    unit = (match[3] or default_unit) if match else None
    if match is None or unit is None or (match[2] and not (allow_space and match[3])):
        raise ValueError("is not a duration such as 30s, 5m, 2h or 7d")
    # Nine digits of days are just what a timedelta holds.
    return timedelta(seconds=float(match[1]) * _SECONDS_PER_UNIT[unit])


def parse_time(text: str, *, now: datetime | None, naive_is_utc: bool = False) -> datetime:
    """Read an RFC 3339 time, or an age such as `15m`, `2h` or `7d`, counted back from `now`.

    Without `now` no age is accepted; without `naive_is_utc` a time needs its zone.
    Raises ValueError, also for a time before 1970.
    """
    time = _parse_age_or_time(text, now)
    if time is not None and time.tzinfo is None and naive_is_utc:
        time = time.replace(tzinfo=UTC)
    if time is None or time.tzinfo is None or time < _EARLIEST:
        raise ValueError("is neither an age such as 15m, 2h or 7d nor a time such as 2026-11-22T18:00:00Z")
    return time


def _parse_age_or_time(text: str, now: datetime | None) -> datetime | None:
    if now is not None:
        try:
            return now - parse_duration(text)
        except OverflowError:
            return None
        except ValueError:
            pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def format_utc(moment: datetime) -> str:
    """Write `2026-11-22 18:27:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_rfc3339(moment: datetime) -> str:
    """Write `2026-11-22T18:27:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_duration(duration: timedelta) -> str:
    """Write a duration rounded for people: `3 ms`, `1.2 s`, `4 min`, `2 days`."""
    seconds = duration.total_seconds()
    if seconds < 0.9995:  # noqa: PLR2004  what is above is rounded to a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004  from ten on, tenths are noise
        return f"{seconds:.2g} s"
    for unit, size in _DISPLAY_UNITS:
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return "0 s"


def format_exact_duration(duration: timedelta) -> str:
    """Write a duration without rounding, in its largest whole unit: `5 min`, `90 s`; `0.25` for a fraction.

    `parse_duration` with `default_unit="s"` and `allow_space` reads the same duration.
    """
    for unit, size in _SECONDS_PER_UNIT.items():
        if duration and not duration % timedelta(seconds=size):
            return f"{duration // timedelta(seconds=size)} {unit}"
    return format_seconds(duration)


def format_seconds(duration: timedelta) -> str:
    """Write seconds to the microsecond, without a unit: `0.25`."""
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".")


def to_milliseconds(duration: timedelta | None) -> float | None:
    """Convert a duration to milliseconds, as JSON and exports write it; None stays None."""
    return None if duration is None else duration / timedelta(milliseconds=1)
