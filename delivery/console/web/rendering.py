"""Render templates with one environment that escapes everything, and the filters that all pages share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from delivery.console.web import assets
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.ids import Prefix, format_id
from delivery.services.presentation import (
    describe_auth,
    describe_certificate,
    describe_format,
    describe_missing_body,
    describe_next_step,
    format_relative_time,
    format_schedule,
)
from delivery.services.sentences import (
    describe_hold,
    describe_reason,
    format_count,
    format_state_reason,
)

if TYPE_CHECKING:
    from uuid import UUID

_SHORT_ID_LENGTH: Final = 6
_ONE_MILLISECOND: Final = timedelta(milliseconds=1)


def render_template(template: str, **values: Any) -> str:
    """Render a template; every value is escaped as text."""
    return _ENVIRONMENT.get_template(template).render(values)


def render_relative_time(at: datetime | None, *, now: datetime) -> Markup | str:
    """Render a relative time with the exact time as a tooltip."""
    if at is None:
        return "—"
    relative = format_relative_time(at, now=now)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), format_utc(at), relative)


def humanize_code(code: str | None) -> str:
    """Write a code as words: `in_flight` becomes `in flight`."""
    return "" if code is None else code.replace("_", " ")


def format_latency(duration: timedelta | None) -> str:
    """Write a latency: `84 ms`, or `8.4 ms` below ten milliseconds."""
    if duration is None:
        return "—"
    if duration < _ONE_MILLISECOND * 10:
        return f"{duration / _ONE_MILLISECOND:.1f} ms"
    return format_duration(duration)


def format_id_of_kind(id_: UUID, kind: str) -> str:
    """Format an id with the prefix of its kind, such as `delivery`."""
    return format_id(Prefix[kind.upper()], id_)


def shorten_id(public_id: str) -> str:
    """Shorten an id to its end, the part that differs between ids of the same time."""
    kind, _, suffix = public_id.rpartition("_")
    return f"{kind}_…{suffix[-_SHORT_ID_LENGTH:]}"


def extract_host(url: str) -> str:
    """Extract the host of a URL, for narrow columns."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or url
    except ValueError:
        return url


def format_percent(ratio: float | None) -> str:
    """Write a ratio from 0 to 1 as a percentage; a ratio below 1 is never shown as 100 %."""
    if ratio is None:
        return "—"
    percentage = f"{ratio * 100:.1f}"
    if percentage == "100.0" and ratio < 1:
        return "> 99.9 %"
    return f"{percentage.removesuffix('.0')} %"


def format_number(count: float) -> str:
    """Write a number with thousands separators."""
    return f"{count:,.0f}" if isinstance(count, int) or count.is_integer() else f"{count:,.1f}"


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("delivery.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters |= {
    "relative_time": render_relative_time,
    "exact_time": format_utc,
    "duration": format_duration,
    "humanize": humanize_code,
    "latency": format_latency,
    "id": format_id_of_kind,
    "short_id": shorten_id,
    "host": extract_host,
    "percent": format_percent,
    "number": format_number,
    "describe_reason": describe_reason,
    "describe_hold": describe_hold,
    "describe_auth": describe_auth,
    "describe_certificate": describe_certificate,
    "describe_format": describe_format,
    "describe_missing_body": describe_missing_body,
    "format_state_reason": format_state_reason,
    "format_count": format_count,
    "format_schedule": format_schedule,
    "describe_next_step": describe_next_step,
}
_ENVIRONMENT.globals |= {"asset": assets.build_asset_url}
