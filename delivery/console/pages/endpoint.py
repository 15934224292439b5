"""One endpoint: its health, its figures, its limits and its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.pages.overview import TIME_RANGES, parse_time_range
from delivery.console.views import charts
from delivery.console.views.settings import describe_settings
from delivery.console.views.timeline import draw_secret_timeline
from delivery.console.web.context import make_get_route
from delivery.domain.ids import EndpointId, Prefix
from delivery.services.sentences import format_actor
from delivery.services.stats.series import TimeRange

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext

# Of what waits for one endpoint a page counts no more.
MAX_COUNTED: Final = 10_000
_SINCE_BY_RANGE: Final = {TimeRange.HOUR: "1h", TimeRange.DAY: "24h", TimeRange.WEEK: "7d"}


async def show_endpoint(ctx: RequestContext) -> Response:
    """An endpoint with everything that is known of it."""
    endpoint_id = EndpointId(ctx.parse_path_id(Prefix.ENDPOINT))
    tenant_id = await ctx.find_owner(Prefix.ENDPOINT, endpoint_id)
    span = parse_time_range(ctx)
    health = await ctx.services.endpoints.read_health(tenant_id, endpoint_id, limit=MAX_COUNTED)
    secrets = await ctx.services.endpoints.list_secrets(tenant_id, endpoint_id)
    series = await ctx.services.stats.load_endpoint_series(tenant_id, endpoint_id, span)
    names = await ctx.services.display_names.load_labels(
        tenant_id, tenant_ids=[tenant_id] if ctx.is_staff else ()
    )
    return ctx.render_page(
        "endpoint.html",
        endpoint=health.endpoint,
        health=health,
        setting_rows=describe_settings(health.endpoint, ctx.services.settings),
        secrets=secrets,
        secret_timeline=draw_secret_timeline(secrets, now=ctx.now),
        series=series,
        charts=charts,
        time_range=span,
        time_ranges=TIME_RANGES,
        since_period=_SINCE_BY_RANGE[span],
        format_actor=format_actor,
        tenant_name=names.tenant_names.get(tenant_id),
    )


ROUTES: Final = [make_get_route("/endpoints/{id}", show_endpoint)]
