"""The form of an endpoint: what was typed becomes what is asked for. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from delivery.endpoints import NewEndpoint
from delivery.errors import Invalid
from delivery.model import Signature

if TYPE_CHECKING:
    from delivery.console.visits import Form
    from delivery.endpoints import EndpointChanges
    from delivery.model import Endpoint

_MOST_LETTERS: Final = 20


def new_endpoint(form: Form) -> NewEndpoint:
    """The endpoint that is asked for; raises Invalid, which names the field."""
    signature = form.text("signature") or Signature.V1
    if signature not in set(Signature):
        raise Invalid("signature", "must be v1 or v1a")
    return NewEndpoint(
        url=form.text("url"),
        description=form.text("description"),
        filter=_patterns(form),
        headers={name: value for name, value in _headers(form).items() if value is not None},
        signature=Signature(signature),
        schedule=_numbers(form, "schedule"),
        timeout_seconds=_number(form, "timeout_seconds"),
        in_flight_max=_whole(form, "in_flight_max"),
        rate_limit=_rate(form),
        operational=form.ticked("operational"),
    )


def changes(form: Form) -> EndpointChanges:
    """What is to become different; raises Invalid. Headers that are not named stay."""
    asked: EndpointChanges = {
        "url": form.text("url"),
        "description": form.text("description"),
        "filter": _patterns(form),
        "schedule": _numbers(form, "schedule"),
        "timeout_seconds": _number(form, "timeout_seconds"),
        "in_flight_max": _whole(form, "in_flight_max"),
        "rate_limit": _rate(form),
    }
    headers = _headers(form)
    return {**asked, "headers": headers} if headers else asked


def filled_in(endpoint: Endpoint) -> dict[str, list[str]]:
    """The fields of the form as an endpoint has them now."""
    rate = endpoint.limits.rate
    plain = {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": "\n".join(endpoint.filter),
        "schedule": ", ".join(f"{one.total_seconds():g}" for one in endpoint.schedule or ()),
        "timeout_seconds": "" if endpoint.timeout is None else f"{endpoint.timeout.total_seconds():g}",
        "in_flight_max": str(endpoint.limits.in_flight or ""),
        "rate_limit": "" if rate is None else str(rate.limit),
        "rate_seconds": "" if rate is None else f"{rate.per.total_seconds():g}",
    }
    return {name: [value] for name, value in plain.items()}


def field_of(name: str) -> str:
    """The field of the form that a fault belongs to: `filter.2` is `filter`."""
    return name.partition(".")[0]


def _patterns(form: Form) -> list[str]:
    return form.raw("filter").replace(",", " ").split() or ["*"]


def _headers(form: Form) -> dict[str, str | None]:
    """`Name: value` a line; a name without a value takes the header away."""
    found: dict[str, str | None] = {}
    for line in form.raw("headers").splitlines():
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon:
            raise Invalid("headers", "must be lines such as X-Token: secret")
        found[name.strip()] = value.strip() or None
    return found


def _rate(form: Form) -> dict[str, float] | None:
    limit, per = _whole(form, "rate_limit"), _number(form, "rate_seconds")
    if limit is None:
        return None
    return {"limit": limit, "per_seconds": 1 if per is None else per}


def _whole(form: Form, name: str) -> int | None:
    text = form.text(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_LETTERS:
        raise Invalid(name, "must be a whole number")
    return int(text)


def _number(form: Form, name: str) -> float | None:
    return _read(name, form.text(name)) if form.text(name) else None


def _numbers(form: Form, name: str) -> list[float] | None:
    parts = form.text(name).replace(",", " ").split()
    return [_read(name, part) for part in parts] or None


def _read(name: str, text: str) -> float:
    try:
        number = float(text[:_MOST_LETTERS])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(name, f"has {text[:_MOST_LETTERS]!r}, which is no number")
    return number
