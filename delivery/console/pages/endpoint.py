"""One endpoint: health, statistics, settings and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.pages.overview import SINCE_BY_RANGE, TIME_RANGES, parse_time_range
from delivery.console.views import charts
from delivery.console.views.settings import describe_settings
from delivery.console.views.timeline import draw_secret_timeline
from delivery.console.web.context import make_get_route
from delivery.domain.ids import EndpointId, Prefix
from delivery.services.sentences import format_actor

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import TenantId

# Waiting deliveries of one endpoint are counted up to this number.
MAX_COUNTED: Final = 10_000


async def show_endpoint(ctx: RequestContext) -> Response:
    """Show one endpoint."""
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    time_range = parse_time_range(ctx)
    health = await ctx.services.endpoints.read_health(tenant_id, endpoint_id, limit=MAX_COUNTED)
    secrets = await ctx.services.endpoints.list_secrets(tenant_id, endpoint_id)
    series = await ctx.services.stats.load_endpoint_series(tenant_id, endpoint_id, time_range)
    names = await ctx.services.lookups.load_labels(tenant_id, tenant_ids=[tenant_id] if ctx.is_staff else ())
    return ctx.render_page(
        "endpoint.html",
        endpoint=health.endpoint,
        health=health,
        setting_rows=describe_settings(health.endpoint, ctx.services.settings),
        secrets=secrets,
        secret_timeline=draw_secret_timeline(secrets, now=ctx.now),
        series=series,
        charts=charts,
        time_range=time_range,
        time_ranges=TIME_RANGES,
        since_period=SINCE_BY_RANGE[time_range],
        format_actor=format_actor,
        tenant_name=names.tenant_names.get(tenant_id),
    )


async def resolve_endpoint(ctx: RequestContext) -> tuple[EndpointId, TenantId]:
    """The endpoint in the path and its tenant; raises NotFound, also when the user may not see it."""
    endpoint_id = EndpointId(ctx.parse_path_id(Prefix.ENDPOINT))
    return endpoint_id, await ctx.find_owner(Prefix.ENDPOINT, endpoint_id)


async def load_endpoint(ctx: RequestContext) -> Endpoint:
    """Load the endpoint in the path; raises NotFound, also when the user may not see it."""
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    return await ctx.services.endpoints.read(tenant_id, endpoint_id)


ROUTES: Final = [make_get_route("/endpoints/{id}", show_endpoint)]
