"""How the text of a setting becomes a value. Every parser raises ValueError, which says what it must be."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from delivery.domain.database_url import normalise_database_url
from retries.backoff import parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from retries.backoff import Schedule

SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})
_MIN_KEY_LENGTH: Final = 20
# RFC 3986: with a scheme, or from a slash on, or a first segment that has no colon.
_URI_CHAR: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URI: Final = re.compile(rf"(?:[A-Za-z][A-Za-z0-9+.-]*:(?=.)|(?=/)|(?=[^:/]+(?:/|$))){_URI_CHAR}+")
_MAX_SOURCE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class SecretText:
    """Text that is neither printed nor logged."""

    text: str = field(repr=False)


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A whole number within these bounds."""
    bounds = f"from {minimum} to {maximum}" if maximum is not None else f"of at least {minimum}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError(f"must be a whole number {bounds}")
        return value

    return parse


def number(minimum: float, maximum: float, *, above: bool = False) -> Callable[[str], float]:
    """A number within these bounds; `above`: greater than the lower one."""
    bounds = f"above {minimum:g} and up to {maximum:g}" if above else f"from {minimum:g} to {maximum:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        # NaN is within no bounds.
        if not minimum <= value <= maximum or (above and value == minimum):
            raise ValueError(f"must be a number {bounds}")
        return value

    return parse


def duration(
    unit: timedelta, minimum: float, maximum: float, *, above: bool = False
) -> Callable[[str], timedelta]:
    """A number of these units within these bounds."""
    parse = number(minimum, maximum, above=above)
    return lambda text: parse(text) * unit


def choice(*names: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return parse


def matching_text(pattern: str, description: str) -> Callable[[str], str]:
    """Text that matches a whole pattern."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"must be {description}")
        return text

    return parse


def parse_flag(text: str) -> bool:
    """Read true or false."""
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return text.lower() in _TRUE


def parse_operator_key(text: str) -> SecretText:
    """Read an API key of the operator's own making."""
    if len(text) < _MIN_KEY_LENGTH:
        raise ValueError(f"must have at least {_MIN_KEY_LENGTH} characters")
    return SecretText(text)


def parse_database_url(text: str) -> SecretText:
    """Read the URL of a PostgreSQL database."""
    normalise_database_url(text)
    return SecretText(text)


def parse_amqp_url(text: str) -> SecretText:
    """Read the URL of a RabbitMQ."""
    # pika takes any scheme, and dials localhost for a URL without a host.
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be of the form amqp://user:password@host:5672/%2F, or begin with amqps://")
    return SecretText(text)


def parse_public_url(text: str) -> str:
    """Read a URL that others are added to, without a slash at its end."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        usable = False
    if not usable or any(map(str.isspace, text)):
        raise ValueError("must be of the form https://waybill.example, with no query and no fragment")
    return text.rstrip("/")


def parse_cloudevents_source(text: str) -> str:
    """Read a URI or its path, to which a tenant is added as one more segment."""
    # A query or a fragment would swallow that segment.
    if len(text) > _MAX_SOURCE_LENGTH or _URI.fullmatch(text) is None:
        raise ValueError(
            f"must be a URI or its path, such as https://shop.example or /shop, with no ? or #, "
            f"of at most {_MAX_SOURCE_LENGTH} characters"
        )
    return text


def parse_delays(text: str) -> Schedule:
    """Read a retry schedule: seconds, comma separated."""
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError("must be seconds, comma separated, such as 0,5,300") from None
    return parse_schedule(seconds)
