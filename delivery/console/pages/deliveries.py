"""Deliveries: search with every filter of the ledger, each in the address."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse

from delivery.console.filters import PERIODS, read_filters
from delivery.console.rendering import render
from delivery.console.visits import get
from delivery.model import DeliveryStatus, Prefix, show_id
from delivery.names import Called
from delivery.paging import Cut, Page
from retries.health import Hold
from retries.outcome import NAMES

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.filters import Filters
    from delivery.console.visits import Visit
    from delivery.model import Delivery

AT_ONCE: Final = 50
_NEEDS_TENANT: Final = "needs a tenant: choose one on the page Tenants, or name an endpoint"


async def search(visit: Visit) -> Response:
    """The deliveries that the address means, newest first unless it says otherwise."""
    filters = _read(visit)
    page: Page[Delivery] = Page((), None)
    if filters.wanted is not None:
        behind = visit.query.id(Prefix.DELIVERY, "behind")
        cut = Cut.following(AT_ONCE, behind, oldest_first=filters.oldest_first)
        page = await visit.uses.deliveries.page(visit.tenant_id, filters.wanted, cut)
    more = None
    if page.last is not None:
        more = visit.link("/deliveries", **filters.query, behind=show_id(Prefix.DELIVERY, page.last))
    return visit.page(
        "deliveries.html",
        status=422 if filters.faults else 200,
        filters=filters,
        deliveries=page.items,
        called=await _called(visit, page),
        first=visit.link("/deliveries", **filters.query) if visit.query.text("behind") else None,
        more=more,
        statuses=list(DeliveryStatus),
        outcomes=sorted(NAMES),
        holds=list(Hold),
        periods=PERIODS,
    )


async def count(visit: Visit) -> Response:
    """How many they are: a part of the page, asked for when the page stands."""
    filters = _read(visit)
    counted = None
    if filters.wanted is not None:
        counted = await visit.uses.deliveries.count(visit.tenant_id, filters.wanted)
    return HTMLResponse(render("count.html", counted=counted))


def _read(visit: Visit) -> Filters:
    filters = read_filters(visit.query, now=visit.now)
    wanted = filters.wanted
    if wanted is not None and visit.tenant_id is None and not wanted.endpoints:
        dear = {"held_by": wanted.held_by, "idempotency_key": wanted.idempotency_key}
        faults = {name: _NEEDS_TENANT for name, value in dear.items() if value}
        if faults:
            return replace(filters, wanted=None, faults=faults)
    return filters


async def _called(visit: Visit, page: Page[Delivery]) -> Called:
    if not page.items:
        return Called()
    return await visit.uses.names.of(
        visit.tenant_id,
        endpoint_ids=[one.endpoint_id for one in page.items],
        tenant_ids=[one.tenant_id for one in page.items] if visit.is_staff else (),
    )


ROUTES: Final = [get("/deliveries", search), get("/deliveries/count", count)]
