"""The list of endpoints with the health of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.views import charts
from delivery.console.web.context import make_get_route
from delivery.console.web.paging import Pager
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix
from delivery.services.endpoints.health import MAX_DUE_COUNTED

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext

PAGE_SIZE: Final = 50
_MAX_SEARCH_LENGTH: Final = 200


async def list_endpoints(ctx: RequestContext) -> Response:
    """List the endpoints of one tenant or of all, newest first."""
    query = ctx.query
    states = [EndpointState(one) for one in query.get_all("state") if one in set(EndpointState)]
    only_troubled = query.is_checked("trouble")
    search_text = query.get_text("q")[:_MAX_SEARCH_LENGTH].replace("\0", "")
    filters = {"state": list(states), "trouble": "1" if only_troubled else None, "q": search_text}
    pager = Pager(ctx, "/endpoints", Prefix.ENDPOINT, PAGE_SIZE, filters)
    page = await ctx.services.endpoints.list_endpoints(
        ctx.tenant_id, pager.request, states=states, unhealthy=only_troubled, search_text=search_text
    )
    tenant_ids = [one.tenant_id for one in page.items] if ctx.is_staff and ctx.tenant_id is None else ()
    return ctx.render_page(
        "endpoints.html",
        endpoints=page.items,
        health_glances=await ctx.services.endpoints.summarize_endpoints(ctx.tenant_id, page.items),
        recent_results=await ctx.services.stats.load_recent_results(
            ctx.tenant_id, [one.id for one in page.items]
        ),
        tenant_names=(
            await ctx.services.lookups.load_labels(ctx.tenant_id, tenant_ids=tenant_ids)
        ).tenant_names,
        charts=charts,
        max_due=MAX_DUE_COUNTED,
        states=list(EndpointState),
        selected_states=states,
        only_troubled=only_troubled,
        search_text=search_text,
        **pager.build_links(page),
    )


ROUTES: Final = [make_get_route("/endpoints", list_endpoints)]
