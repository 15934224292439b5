"""Charts as SVG. Colours are CSS classes, so that they follow the light or dark theme. Pure.

Charts contain only our own numbers and times, never a tenant's text.
"""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from delivery.domain.durations import format_duration
from delivery.services.stats.series import TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from delivery.ledger.stats.live import RecentResult
    from delivery.services.stats.series import Series

WIDTH: Final = 640
HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 24
_PLOT_WIDTH: Final = WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT: Final = HEIGHT - _TOP - _BOTTOM
_PERCENTILE_TONES: Final = (("p50", "move"), ("p95", "wait"), ("p99", "bad"))
_POINTS_PER_LABEL: Final = {TimeRange.HOUR: 15, TimeRange.DAY: 24, TimeRange.WEEK: 24}
_MILLISECOND: Final = timedelta(milliseconds=1)
RESULTS_WIDTH, RESULTS_HEIGHT, _RESULTS_STEP = 160, 22, 4


def draw_outcomes(series: Series) -> Markup:
    """Draw a bar of delivered and failed attempts for each time step."""
    top = _round_up_scale(max((point.attempts for point in series.points), default=0))
    step = _PLOT_WIDTH / len(series.points)
    bars = []
    for place, point in enumerate(series.points):
        at = _format_axis_time(point.at, series.time_range)
        tooltip = f"{at}: {point.delivered:,} delivered, {point.failures:,} failed"
        x, y = _LEFT + place * step, float(_TOP + _PLOT_HEIGHT)
        for count, tone in ((point.delivered, "ok"), (point.failures, "bad")):
            if count:
                high = max(0.8, _PLOT_HEIGHT * count / top)
                y -= high
                bars.append(_draw_bar(x, y, max(1.0, step - 1), high, tone, tooltip))
    label = f"{series.total.delivered:,} delivered and {series.total.failures:,} failed attempts"
    ticks = sorted({0, top // 2, top})
    grid = _draw_grid((_TOP + _PLOT_HEIGHT * (1 - value / top), _format_tick(value)) for value in ticks)
    return _render_svg(label, [*grid, *bars, *_draw_time_axis(series)])


def draw_latencies(series: Series) -> Markup:
    """Draw lines of p50, p95 and p99 on a logarithmic scale."""
    known = [
        value / _MILLISECOND
        for point in series.points
        for value in (point.p50, point.p95, point.p99)
        if value is not None
    ]
    low = 10 ** math.floor(math.log10(max(1.0, min(known, default=1))))
    high = 10 ** math.ceil(math.log10(max(low * 10, max(known, default=10))))

    def place(value: timedelta) -> float:
        share = math.log10(max(low, value / _MILLISECOND) / low) / math.log10(high / low)
        return _TOP + _PLOT_HEIGHT * (1 - share)

    step = _PLOT_WIDTH / len(series.points)
    lines: list[Markup] = []
    for name, tone in _PERCENTILE_TONES:
        values = [getattr(point, name) for point in series.points]
        spots = [
            None if value is None else (_LEFT + (number + 0.5) * step, place(value))
            for number, value in enumerate(values)
        ]
        lines += _draw_line(spots, tone)
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    grid = _draw_grid(
        (place(_MILLISECOND * 10**power), format_duration(_MILLISECOND * 10**power)) for power in powers
    )
    total = series.total
    percentiles = [f"{name} {_format_percentile(getattr(total, name))}" for name, _ in _PERCENTILE_TONES]
    return _render_svg("Response time: " + ", ".join(percentiles), [*grid, *lines, *_draw_time_axis(series)])


def draw_recent_results(results: Sequence[RecentResult]) -> Markup:
    """Draw an endpoint's last results, oldest first: height is the duration, colour the outcome."""
    if not results:
        return Markup('<span class="quiet">—</span>')
    longest = max((one.duration_us or 0 for one in results), default=0) or 1
    drawn = {"ok": "", "bad": ""}  # a path for each colour: a list has thousands of bars
    for place, one in enumerate(results):
        high = 4 + (RESULTS_HEIGHT - 4) * math.sqrt((one.duration_us or 0) / longest)
        x = RESULTS_WIDTH - (len(results) - place) * _RESULTS_STEP
        drawn["ok" if one.succeeded else "bad"] += (
            f"M{x} {RESULTS_HEIGHT}v-{high:.1f}h{_RESULTS_STEP - 1}v{high:.1f}z"
        )
    bars = [
        Markup('<path class="chart-{}" d="{}"/>').format(tone, path) for tone, path in drawn.items() if path
    ]
    failed = sum(not one.succeeded for one in results)
    label = f"The last {len(results)} results: {len(results) - failed} delivered, {failed} failed"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(RESULTS_WIDTH, RESULTS_HEIGHT, RESULTS_WIDTH, RESULTS_HEIGHT, label, Markup().join(bars))


# ------------------------------------------------------------------ parts of a chart
def _render_svg(label: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup().join(parts)
    )


def _draw_bar(x: float, y: float, width: float, height: float, tone: str, tooltip: str) -> Markup:
    title = Markup("<title>{}</title>").format(tooltip) if tooltip else Markup()
    return Markup(
        '<rect class="chart-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>'
    ).format(tone, x, y, width, height, title)


def _draw_line(spots: Iterable[tuple[float, float] | None], tone: str) -> Iterator[Markup]:
    """Draw a line with gaps where there is no value; a single point becomes a dot."""
    piece: list[tuple[float, float]] = []
    for spot in (*spots, None):
        if spot is not None:
            piece.append(spot)
            continue
        if len(piece) == 1:
            x, y = piece[0]
            yield Markup('<circle class="chart-{}" cx="{:.1f}" cy="{:.1f}" r="2"/>').format(tone, x, y)
        elif piece:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
            yield Markup('<polyline class="line-{}" points="{}"/>').format(tone, points)
        piece = []


def _draw_grid(ticks: Iterable[tuple[float, str]]) -> Iterator[Markup]:
    for y, label in ticks:
        yield Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(_LEFT, WIDTH - _RIGHT, y, y, _LEFT - 6, y + 3.5, escape(label))


def _draw_time_axis(series: Series) -> Iterator[Markup]:
    step = _PLOT_WIDTH / len(series.points)
    every = _POINTS_PER_LABEL[series.time_range]
    for place in range(every // 2, len(series.points), every):
        x = _LEFT + (place + 0.5) * step
        label = _format_axis_time(series.points[place].at, series.time_range)
        yield Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(x, HEIGHT - 6, label)


def _format_axis_time(at: datetime, span: TimeRange) -> str:
    """Format a time on the axis, in UTC; with the day only where the axis covers several."""
    return at.astimezone(UTC).strftime("%a %d %b, %H:%M" if span is TimeRange.WEEK else "%H:%M")


def _format_percentile(value: timedelta | None) -> str:
    return "unknown" if value is None else format_duration(value)


def _format_tick(value: int) -> str:
    """Format a tick briefly: `400,000`, `2 M`."""
    for size, unit in ((10**9, "bn"), (10**6, "M")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:,}"


def _round_up_scale(highest: int) -> int:
    """Round up to the top of a scale (1, 2, 4, 6, 8, 10, 20, 40 …) whose half is a whole number too."""
    power = 1
    while power * 10 < highest:
        power *= 10
    return next(factor * power for factor in (1, 2, 4, 6, 8, 10) if factor * power >= highest)
