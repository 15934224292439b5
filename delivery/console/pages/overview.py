"""The overview: overall health, and where there is trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.views import charts
from delivery.console.web.context import make_get_route
from delivery.services.stats.series import TimeRange
from delivery.services.stats.service import MAX_DUE_PER_ENDPOINT

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext

TIME_RANGES: Final = {TimeRange.HOUR: "Last hour", TimeRange.DAY: "Last day", TimeRange.WEEK: "Last week"}
# The value of the filter `since` that covers a time range.
SINCE_BY_RANGE: Final = {TimeRange.HOUR: "1h", TimeRange.DAY: "24h", TimeRange.WEEK: "7d"}


async def show_overview(ctx: RequestContext) -> Response:
    """Show statistics over time and the current state."""
    time_range = parse_time_range(ctx)
    series = await ctx.services.stats.load_series(ctx.tenant_id, time_range)
    live_stats = await ctx.services.stats.load_live_stats(ctx.tenant_id)
    return ctx.render_page(
        "overview.html",
        time_range=time_range,
        time_ranges=TIME_RANGES,
        series=series,
        live_stats=live_stats,
        since_period=SINCE_BY_RANGE[time_range],
        charts=charts,
        max_each=MAX_DUE_PER_ENDPOINT,
    )


def parse_time_range(ctx: RequestContext) -> TimeRange:
    """Parse the time range in the URL; an hour by default."""
    requested = ctx.query.get_text("span")
    return TimeRange(requested) if requested in set(TimeRange) else TimeRange.HOUR


ROUTES: Final = [make_get_route("/", show_overview)]
