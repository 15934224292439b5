"""Parse the form of an endpoint, and describe its errors by field. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.console.forms.fields import parse_whole_number
from delivery.domain.durations import format_exact_duration, format_seconds, parse_duration
from delivery.domain.endpoint import Signature
from delivery.domain.errors import Invalid
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.services.endpoints.validation import NewEndpoint
from delivery.services.sentences import format_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.console.web.context import Form
    from delivery.domain.endpoint import Endpoint
    from delivery.services.endpoints.validation import EndpointChanges

_EnumT = TypeVar("_EnumT", PayloadFormat, PayloadKind)

_MAX_NUMBER_LENGTH: Final = 20
# From the field of an error to the form field that shows it, and the subject of its sentence.
_ERROR_FIELDS: Final = {
    "url": ("url", ""),
    "filter": ("filter", "it"),
    "channels": ("channels", "they"),
    "condition": ("condition", ""),
    "timeout_seconds": ("timeout_seconds", "it"),
    "in_flight_max": ("in_flight_max", "it"),
    "rate_limit.limit": ("rate_limit", "the limit"),
    "rate_limit.per_seconds": ("rate_seconds", "the period"),
    "overlap_hours": ("overlap_hours", "it"),
}


def parse_new_endpoint(form: Form) -> NewEndpoint:
    """Parse a new endpoint; raises Invalid with the field's name."""
    signature = form.get_text("signature") or Signature.V1
    if signature not in set(Signature):
        raise Invalid("signature", "must be v1 or v1a")
    return NewEndpoint(
        url=form.get_text("url"),
        description=form.get_text("description"),
        filter=_parse_patterns(form),
        channels=_parse_channels(form),
        condition=_parse_condition(form),
        headers={
            name: value for name, value in parse_headers(form.get_raw("headers")).items() if value is not None
        },
        signature=Signature(signature),
        schedule=_parse_schedule(form),
        timeout_seconds=_parse_number(form, "timeout_seconds", "timeout_seconds"),
        in_flight_max=_parse_whole_number(form, "in_flight_max", "in_flight_max"),
        rate_limit=_parse_rate(form),
        operational=form.is_checked("operational"),
        format=_parse_choice(form, "format", PayloadFormat.STANDARD),
        payload=_parse_choice(form, "payload", PayloadKind.FULL),
    )


def parse_changes(form: Form) -> EndpointChanges:
    """Parse changes to an endpoint; raises Invalid. Headers that are not listed stay unchanged."""
    changes: EndpointChanges = {
        "url": form.get_text("url"),
        "description": form.get_text("description"),
        **parse_subscription(form),
        "schedule": _parse_schedule(form),
        "timeout_seconds": _parse_number(form, "timeout_seconds", "timeout_seconds"),
        "in_flight_max": _parse_whole_number(form, "in_flight_max", "in_flight_max"),
        "rate_limit": _parse_rate(form),
    }
    # Pages opened before an upgrade may lack these fields.
    if form.get_text("format"):
        changes["format"] = _parse_choice(form, "format", PayloadFormat.STANDARD)
    if form.get_text("payload"):
        changes["payload"] = _parse_choice(form, "payload", PayloadKind.FULL)
    headers = parse_headers(form.get_raw("headers"))
    return {**changes, "headers": headers} if headers else changes


def parse_subscription(form: Form) -> EndpointChanges:
    """Parse which of its tenant's events an endpoint subscribes to."""
    return {
        "filter": _parse_patterns(form),
        "channels": _parse_channels(form),
        "condition": _parse_condition(form),
    }


def build_form_values(endpoint: Endpoint) -> dict[str, list[str]]:
    """Fill the form from an endpoint; parsing the result gives the same settings."""
    rate = endpoint.limits.rate
    plain = {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": "\n".join(endpoint.filter),
        "channels": "\n".join(endpoint.channels),
        "condition": endpoint.condition or "",
        "schedule": "" if endpoint.schedule is None else format_schedule_input(endpoint.schedule),
        "timeout_seconds": "" if endpoint.timeout is None else format_seconds(endpoint.timeout),
        "in_flight_max": str(endpoint.limits.in_flight or ""),
        "rate_limit": "" if rate is None else str(rate.limit),
        "rate_seconds": "" if rate is None else format_seconds(rate.per),
        "format": endpoint.format,
        "payload": endpoint.payload,
    }
    return {name: [value] for name, value in plain.items()}


def describe_field_error(error: Invalid) -> tuple[str, str]:
    """Map an error to a form field and a sentence: `filter.2` means line 3 of the field `filter`."""
    if error.field in _ERROR_FIELDS:
        name, label = _ERROR_FIELDS[error.field]
        return name, format_sentence(f"{label} {error.why}".strip())
    name, _, part = error.field.partition(".")
    if not part:
        return name, format_sentence(f"{name} {error.why}")
    # A header's name keeps its case, so it is not formatted as a sentence.
    return name, f"{f'Line {int(part) + 1}' if part.isdecimal() else part}: {error.why}"


# ------------------------------------------------------------------ fields
def parse_headers(text: str) -> dict[str, str | None]:
    """Parse one `Name: value` per line; a name without a value removes the header. Raises Invalid."""
    headers: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name.strip():
            raise Invalid("headers", f"must be lines such as X-Token: secret; line {number} is not")
        if name.strip().lower() in {other.lower() for other in headers}:
            raise Invalid("headers", f"may have each name once; line {number} repeats one")
        headers[name.strip()] = value.strip() or None
    return headers


def parse_delays(text: str) -> list[float]:
    """Parse a schedule such as `0, 5, 5 min, 2 h` into seconds; raises Invalid."""
    return [_parse_delay(part.strip()).total_seconds() for part in text.split(",")]


def _parse_delay(text: str) -> timedelta:
    try:
        return parse_duration(text.lower().replace("at once", "0"), default_unit="s", allow_space=True)
    except ValueError:
        raise Invalid("schedule", f"has {text[:_MAX_NUMBER_LENGTH]!r}, which is not a duration") from None


def format_schedule_input(schedule: Sequence[timedelta]) -> str:
    """Write a schedule as `parse_delays` reads it."""
    return ", ".join(map(format_exact_duration, schedule))


def _parse_choice(form: Form, name: str, default: _EnumT) -> _EnumT:
    try:
        return type(default)(form.get_text(name) or default)
    except ValueError:
        raise Invalid(name, f"must be {' or '.join(type(default))}") from None


def _parse_patterns(form: Form) -> list[str]:
    return form.get_raw("filter").replace(",", " ").split() or ["*"]


def _parse_channels(form: Form) -> list[str]:
    return form.get_raw("channels").replace(",", " ").split()


def _parse_condition(form: Form) -> str | None:
    return form.get_raw("condition").replace("\r\n", "\n").strip() or None


def _parse_schedule(form: Form) -> list[float] | None:
    text = form.get_text("schedule")
    return parse_delays(text) if text else None


def _parse_rate(form: Form) -> dict[str, float] | None:
    limit = _parse_whole_number(form, "rate_limit", "rate_limit.limit")
    per = _parse_number(form, "rate_seconds", "rate_limit.per_seconds")
    if limit is None and per is None:
        return None
    if limit is None:
        raise Invalid("rate_limit.limit", "is missing: how many deliveries may be sent in this period")
    return {"limit": limit, "per_seconds": 1 if per is None else per}


def _parse_whole_number(form: Form, name: str, field: str) -> int | None:
    return parse_whole_number(
        form.get_text(name), field, "must be a whole number", max_digits=_MAX_NUMBER_LENGTH
    )


def _parse_number(form: Form, name: str, field: str) -> float | None:
    text = form.get_text(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(field, "must be a number")
    return number
