"""Search deliveries; every filter is a query parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse

from delivery.console.forms.delivery_filter import PERIODS, parse_delivery_filters
from delivery.console.web.context import make_get_route
from delivery.console.web.paging import Pager
from delivery.console.web.rendering import render_template
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import Prefix
from delivery.domain.pagination import Page
from delivery.services.lookups import Labels
from retries.health import Hold
from retries.outcome import OUTCOME_NAMES

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.forms.delivery_filter import DeliveryFilterForm
    from delivery.console.web.context import RequestContext
    from delivery.domain.delivery import Delivery

PAGE_SIZE: Final = 50
_NEEDS_TENANT: Final = "needs a tenant: choose one on the Tenants page, or filter by endpoint"


async def search_deliveries(ctx: RequestContext) -> Response:
    """List the deliveries that the URL selects, newest first by default."""
    filters = _parse_filters(ctx)
    pager = Pager(
        ctx,
        "/deliveries",
        Prefix.DELIVERY,
        PAGE_SIZE,
        filters.query_params,
        oldest_first=filters.oldest_first,
    )
    page: Page[Delivery] = Page((), None)
    if filters.selection is not None:
        page = await ctx.services.deliveries.list_deliveries(ctx.tenant_id, filters.selection, pager.request)
    return ctx.render_page(
        "deliveries.html",
        status=422 if filters.errors else 200,
        filter_form=filters,
        deliveries=page.items,
        labels=await _load_labels(ctx, page),
        **pager.build_links(page),
        statuses=list(DeliveryStatus),
        outcomes=sorted(OUTCOME_NAMES),
        holds=list(Hold),
        periods=PERIODS,
    )


async def count_deliveries(ctx: RequestContext) -> Response:
    """Render the count of matches, which the page requests after it has loaded."""
    filters = _parse_filters(ctx)
    counted = None
    if filters.selection is not None:
        counted = await ctx.services.deliveries.count_deliveries(ctx.tenant_id, filters.selection)
    return HTMLResponse(render_template("count.html", delivery_count=counted))


def _parse_filters(ctx: RequestContext) -> DeliveryFilterForm:
    filters = parse_delivery_filters(ctx.query, now=ctx.now)
    selection = filters.selection
    if selection is not None and ctx.tenant_id is None and not selection.endpoints:
        expensive = {"held_by": selection.held_by, "idempotency_key": selection.idempotency_key}
        errors = {name: _NEEDS_TENANT for name, value in expensive.items() if value}
        if errors:
            return replace(filters, selection=None, errors=errors)
    return filters


async def _load_labels(ctx: RequestContext, page: Page[Delivery]) -> Labels:
    if not page.items:
        return Labels()
    return await ctx.services.lookups.load_labels(
        ctx.tenant_id,
        endpoint_ids=[one.endpoint_id for one in page.items],
        tenant_ids=[one.tenant_id for one in page.items] if ctx.is_staff else (),
    )


ROUTES: Final = [
    make_get_route("/deliveries", search_deliveries),
    make_get_route("/deliveries/count", count_deliveries),
]
