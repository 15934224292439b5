"""The form of an endpoint: what was typed becomes what is asked for, and what is wrong with it. Pure."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.endpoints import NewEndpoint
from delivery.errors import Invalid
from delivery.model import Format, PayloadKind, Signature
from delivery.tracing.sentences import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.console.visits import Form
    from delivery.endpoints import EndpointChanges
    from delivery.model import Endpoint

_Known = TypeVar("_Known", Format, PayloadKind)

_MOST_LETTERS: Final = 20
_NOTHING: Final = timedelta(0)
_DELAY: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(s|min|m|h|d)?")
_UNITS: Final = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
# Beside which field of the form something is said, and how the thing is called there.
_SAID_AT: Final = {
    "url": ("url", ""),
    "filter": ("filter", "it"),
    "channels": ("channels", "they"),
    "condition": ("condition", ""),
    "timeout_seconds": ("timeout_seconds", "it"),
    "in_flight_max": ("in_flight_max", "it"),
    "rate_limit.limit": ("rate_limit", "how many"),
    "rate_limit.per_seconds": ("rate_seconds", "the time"),
    "overlap_hours": ("overlap_hours", "it"),
}


def new_endpoint(form: Form) -> NewEndpoint:
    """The endpoint that is asked for; raises Invalid, which names the field."""
    signature = form.text("signature") or Signature.V1
    if signature not in set(Signature):
        raise Invalid("signature", "must be v1 or v1a")
    return NewEndpoint(
        url=form.text("url"),
        description=form.text("description"),
        filter=_patterns(form),
        channels=_channels(form),
        condition=_condition(form),
        headers={name: value for name, value in headers_of(form.raw("headers")).items() if value is not None},
        signature=Signature(signature),
        schedule=_schedule(form),
        timeout_seconds=_number(form, "timeout_seconds", "timeout_seconds"),
        in_flight_max=_whole(form, "in_flight_max", "in_flight_max"),
        rate_limit=_rate(form),
        operational=form.ticked("operational"),
        format=_chosen(form, "format", Format.STANDARD),
        payload=_chosen(form, "payload", PayloadKind.FULL),
    )


def changes(form: Form) -> EndpointChanges:
    """What is to become different; raises Invalid. Headers that are not named stay."""
    asked: EndpointChanges = {
        "url": form.text("url"),
        "description": form.text("description"),
        **wanted(form),
        "schedule": _schedule(form),
        "timeout_seconds": _number(form, "timeout_seconds", "timeout_seconds"),
        "in_flight_max": _whole(form, "in_flight_max", "in_flight_max"),
        "rate_limit": _rate(form),
    }
    # A page that was opened before there was a choice has no such fields.
    if form.text("format"):
        asked["format"] = _chosen(form, "format", Format.STANDARD)
    if form.text("payload"):
        asked["payload"] = _chosen(form, "payload", PayloadKind.FULL)
    headers = headers_of(form.raw("headers"))
    return {**asked, "headers": headers} if headers else asked


def wanted(form: Form) -> EndpointChanges:
    """What of its tenant's events an endpoint is to get."""
    return {"filter": _patterns(form), "channels": _channels(form), "condition": _condition(form)}


def filled_in(endpoint: Endpoint) -> dict[str, list[str]]:
    """The fields of the form as an endpoint has them now: read back, they say exactly the same."""
    rate = endpoint.limits.rate
    plain = {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": "\n".join(endpoint.filter),
        "channels": "\n".join(endpoint.channels),
        "condition": endpoint.condition or "",
        "schedule": "" if endpoint.schedule is None else written(endpoint.schedule),
        "timeout_seconds": "" if endpoint.timeout is None else _seconds(endpoint.timeout),
        "in_flight_max": str(endpoint.limits.in_flight or ""),
        "rate_limit": "" if rate is None else str(rate.limit),
        "rate_seconds": "" if rate is None else _seconds(rate.per),
        "format": endpoint.format,
        "payload": endpoint.payload,
    }
    return {name: [value] for name, value in plain.items()}


def fault_of(error: Invalid) -> tuple[str, str]:
    """Beside which field a fault is said, and how: `filter.2` is of line 3 of the field `filter`."""
    if error.field in _SAID_AT:
        name, label = _SAID_AT[error.field]
        return name, sentence(f"{label} {error.why}".strip())
    name, _, part = error.field.partition(".")
    if not part:
        return name, sentence(f"{name} {error.why}")
    # A header's name stays as it is written, without a capital before it.
    return name, f"{f'Line {int(part) + 1}' if part.isdecimal() else part}: {error.why}"


# ------------------------------------------------------------------ fields
def headers_of(text: str) -> dict[str, str | None]:
    """`Name: value` a line; a name without a value takes the header away. Raises Invalid."""
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name.strip():
            raise Invalid("headers", f"must be lines such as X-Token: secret; line {number} is none")
        if name.strip().lower() in {other.lower() for other in found}:
            raise Invalid("headers", f"may have each name once; line {number} has one again")
        found[name.strip()] = value.strip() or None
    return found


def delays_of(text: str) -> list[float]:
    """Read a schedule such as `0, 5, 5 min, 2 h` as seconds; raises Invalid."""
    found = []
    for part in text.split(","):
        match = _DELAY.fullmatch(part.strip().lower().replace("at once", "0"))
        if match is None:
            raise Invalid("schedule", f"has {part.strip()[:_MOST_LETTERS]!r}, which is no time")
        found.append(float(match[1]) * _UNITS[match[2] or "s"])
    return found


def written(schedule: Sequence[timedelta]) -> str:
    """Write a schedule as `delays_of` reads it."""
    return ", ".join(map(_delay, schedule))


def _delay(delay: timedelta) -> str:
    for unit, size in _UNITS.items():
        if delay and delay % timedelta(seconds=size) == _NOTHING:
            return f"{delay // timedelta(seconds=size)} {unit}"
    return _seconds(delay)


def _seconds(time: timedelta) -> str:
    """Seconds in full: no digit is lost when the form is sent as it was shown."""
    return f"{time.total_seconds():.6f}".rstrip("0").rstrip(".")


def _chosen(form: Form, name: str, otherwise: _Known) -> _Known:
    try:
        return type(otherwise)(form.text(name) or otherwise)
    except ValueError:
        raise Invalid(name, f"must be {' or '.join(type(otherwise))}") from None


def _patterns(form: Form) -> list[str]:
    return form.raw("filter").replace(",", " ").split() or ["*"]


def _channels(form: Form) -> list[str]:
    return form.raw("channels").replace(",", " ").split()


def _condition(form: Form) -> str | None:
    return form.raw("condition").replace("\r\n", "\n").strip() or None


def _schedule(form: Form) -> list[float] | None:
    text = form.text("schedule")
    return delays_of(text) if text else None


def _rate(form: Form) -> dict[str, float] | None:
    limit = _whole(form, "rate_limit", "rate_limit.limit")
    per = _number(form, "rate_seconds", "rate_limit.per_seconds")
    if limit is None and per is None:
        return None
    if limit is None:
        raise Invalid("rate_limit.limit", "is missing: it is so many in this time")
    return {"limit": limit, "per_seconds": 1 if per is None else per}


def _whole(form: Form, name: str, field: str) -> int | None:
    text = form.text(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_LETTERS:
        raise Invalid(field, "must be a whole number")
    return int(text)


def _number(form: Form, name: str, field: str) -> float | None:
    text = form.text(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(field, "must be a number")
    return number
