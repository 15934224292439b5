"""Templates to pages: one environment that escapes everything, and the few words that all pages share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from delivery.bootstrap import clock
from delivery.console import assets
from delivery.model import Prefix, show_id
from delivery.moments import exact, length
from delivery.tracing.sentences import counted, held_by, state_reason, why
from delivery.wording import delays, next_step, told_auth, told_certificate, told_format, told_no_body, when

if TYPE_CHECKING:
    from uuid import UUID

_SHORT_LETTERS: Final = 6
_ONE_MILLISECOND: Final = timedelta(milliseconds=1)


def render(template: str, **values: Any) -> str:
    """Fill in a template. Whatever is put in is text, and is escaped."""
    return _ENVIRONMENT.get_template(template).render(values)


def moment(at: datetime | None, *, now: datetime | None = None) -> Markup | str:
    """A moment as people read it, with the exact one behind it."""
    if at is None:
        return "—"
    told = when(at, now=now or clock())
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), exact(at), told)


def words(code: str | None) -> str:
    """A code of ours as words: `in_flight` is `in flight`."""
    return "" if code is None else code.replace("_", " ")


def took(duration: timedelta | None) -> str:
    """How long something took: `84 ms`; below one, tenths of it."""
    if duration is None:
        return "—"
    if duration < _ONE_MILLISECOND * 10:
        return f"{duration / _ONE_MILLISECOND:.1f} ms"
    return length(duration)


def identified(id_: UUID, kind: str) -> str:
    """An id in full, by the name of its kind: `delivery`."""
    return show_id(Prefix[kind.upper()], id_)


def short(shown: str) -> str:
    """The end of an id, by which people tell neighbours apart."""
    kind, _, suffix = shown.rpartition("_")
    return f"{kind}_…{suffix[-_SHORT_LETTERS:]}"


def host(url: str) -> str:
    """The host of a URL, for narrow places."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or url
    except ValueError:
        return url


def percent(ratio: float | None) -> str:
    """A ratio from 0 to 1 as a percentage that never rounds a failure away."""
    if ratio is None:
        return "—"
    shown = f"{ratio * 100:.1f}"
    if shown == "100.0" and ratio < 1:
        return "> 99.9 %"
    return f"{shown.removesuffix('.0')} %"


def number(count: float) -> str:
    """A number with its thousands apart."""
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
    "moment": moment,
    "exact": exact,
    "lasting": length,
    "words": words,
    "took": took,
    "id": identified,
    "short": short,
    "host": host,
    "percent": percent,
    "number": number,
    "why": why,
    "held_by": held_by,
    "told_auth": told_auth,
    "told_certificate": told_certificate,
    "told_format": told_format,
    "told_no_body": told_no_body,
    "state_reason": state_reason,
    "counted": counted,
    "delays": delays,
    "next_step": next_step,
}
_ENVIRONMENT.globals |= {"asset": assets.path_of, "clock": clock}
