"""A chart of an endpoint's secrets over time, which shows their overlap. Pure."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from delivery.domain.durations import format_utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.endpoint import SealedSecret

WIDTH: Final = 640
_ROW_HEIGHT: Final = 26
_LABEL_WIDTH: Final = 120
_AXIS_HEIGHT: Final = 22
_MIN_MARGIN: Final = timedelta(hours=1)


def draw_secret_timeline(secrets: Sequence[SealedSecret], *, now: datetime) -> Markup:
    """Draw a bar for each secret, newest first, from its creation to its expiry or to the edge.

    The scale covers the overlaps only: the full age of old secrets would make them too small to see.
    """
    first, last = _find_bounds(secrets, now=now)
    span = last - first

    def place(moment: datetime) -> float:
        return _LABEL_WIDTH + (WIDTH - _LABEL_WIDTH) * ((min(max(moment, first), last) - first) / span)

    parts = []
    for row, one in enumerate(secrets):
        y, end = row * _ROW_HEIGHT, one.not_after or last
        tooltip = f"key {one.key_id}, created {format_utc(one.created_at)}, " + (
            "signs until it is rotated"
            if one.not_after is None
            else f"signs until {format_utc(one.not_after)}"
        )
        parts.append(
            Markup(
                '<text x="0" y="{}">{}</text><rect class="chart-{}" x="{:.1f}" y="{}" width="{:.1f}" '
                'height="14" rx="3"><title>{}</title></rect>'
            ).format(
                y + 17,
                one.key_id,
                "ok" if one.not_after is None else "wait",
                place(one.created_at),
                y + 6,
                max(3.0, place(end) - place(one.created_at)),
                tooltip,
            )
        )
    high = len(secrets) * _ROW_HEIGHT + _AXIS_HEIGHT
    parts.append(
        Markup(
            '<line class="now" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/><text x="{0:.1f}" y="{2}" '
            'text-anchor="middle">now</text>'
        ).format(place(now), high - _AXIS_HEIGHT + 4, high - 5)
    )
    label = f"{len(secrets)} secrets sign now" if len(secrets) != 1 else "One secret signs now"
    return Markup(
        '<svg class="chart timeline" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, high, label, Markup().join(parts))


def _find_bounds(secrets: Sequence[SealedSecret], *, now: datetime) -> tuple[datetime, datetime]:
    """Find a range that covers all overlaps and now, with a margin on both sides."""
    marks = [now]
    for newer, older in pairwise(secrets):
        marks += [newer.created_at, older.not_after or now]
    room = max((max(marks) - min(marks)) / 4, _MIN_MARGIN)
    return min(marks) - room, max(marks) + room
