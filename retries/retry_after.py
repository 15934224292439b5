"""Parses the Retry-After header (RFC 9110, section 10.2.3): seconds, or a date in one of three formats."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_RETRY_AFTER: Final = timedelta(hours=24)
_ZERO: Final = timedelta(0)
_MAX_DIGITS: Final = 9  # more digits are far beyond the limit
_LAST_SECOND: Final = 59
_CENTURY: Final = 100

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_SECONDS: Final = re.compile(r"(?P<minus>-?)(?P<digits>[0-9]+)")
_TIME: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-5][0-9]|60)"
_DATES: Final = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        # IMF-fixdate, RFC 850 and asctime: Sun, 06 Nov 1994 …, Sunday, 06-Nov-94 …, Sun Nov  6 … 1994
        rf"[a-z]{{3}}, (?P<day>[0-9]{{2}}) (?P<month>[a-z]{{3}}) (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"[a-z]{{6,9}}, (?P<day>[0-9]{{2}})-(?P<month>[a-z]{{3}})-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"[a-z]{{3}} (?P<month>[a-z]{{3}}) (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def parse_retry_after(value: str | bytes | None, *, now: datetime) -> timedelta | None:
    """Return how long the receiver asks us to wait, from zero to 24 hours; None if it cannot be parsed.

    Never raises, whatever the receiver sent. A date in the past, or a negative number, is zero.
    """
    if value is None:
        return None
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip(" \t")
    wait = _parse_seconds(text)
    if wait is None:
        moment = _parse_date(text, now=now)
        wait = None if moment is None else moment - now
    return None if wait is None else clamp_retry_after(wait)


def clamp_retry_after(wait: timedelta) -> timedelta:
    """Limit a wait to 24 hours: no receiver may hold its deliveries for longer."""
    return max(_ZERO, min(wait, MAX_RETRY_AFTER))


def _parse_seconds(text: str) -> timedelta | None:
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    if match["minus"]:
        return _ZERO
    digits = match["digits"].lstrip("0")
    if len(digits) > _MAX_DIGITS:
        return MAX_RETRY_AFTER
    return timedelta(seconds=int(digits or "0"))


def _parse_date(text: str, *, now: datetime) -> datetime | None:
    """Parse an HTTP-date (RFC 9110, section 5.6.7). The name of the weekday is not checked."""
    for form in _DATES:
        match = form.fullmatch(text)
        if match is not None:
            return _build_datetime(match, now=now)
    return None


def _build_datetime(match: re.Match[str], *, now: datetime) -> datetime | None:
    year = int(match["year"])
    if len(match["year"]) == len("94"):
        year = _complete_year(year, now=now)
    try:
        return datetime(
            year,
            _MONTHS[match["month"].lower()],
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(int(match["second"]), _LAST_SECOND),  # 60 is a leap second, which datetime lacks
            tzinfo=UTC,
        )
    except (KeyError, ValueError):
        return None


def _complete_year(two_digits: int, *, now: datetime) -> int:
    """Complete a two-digit year to one at most 50 years ahead (RFC 9110, section 5.6.7)."""
    earliest = now.year - 49
    return earliest + (two_digits - earliest) % _CENTURY
