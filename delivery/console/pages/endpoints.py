"""Endpoints: how each does, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console import charts
from delivery.console.visits import get
from delivery.endpoints.health import MOST_DUE
from delivery.model import EndpointState, Prefix, show_id
from delivery.paging import Cut

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Visit

AT_ONCE: Final = 50
_LONGEST_WORDS: Final = 200


async def every(visit: Visit) -> Response:
    """The endpoints of a tenant, or of all, newest first."""
    query = visit.query
    states = [EndpointState(one) for one in query.many("state") if one in set(EndpointState)]
    troubled = query.ticked("trouble")
    words = query.text("q")[:_LONGEST_WORDS].replace("\0", "")
    cut = Cut.following(AT_ONCE, query.id(Prefix.ENDPOINT, "behind"), oldest_first=False)
    page = await visit.uses.endpoints.page(
        visit.tenant_id, cut, states=states, troubled=troubled, words=words
    )
    whose = [one.tenant_id for one in page.items] if visit.is_staff and visit.tenant_id is None else ()
    asked = {"state": list(states), "trouble": "1" if troubled else None, "q": words}
    more = None
    if page.last is not None:
        more = visit.link("/endpoints", **asked, behind=show_id(Prefix.ENDPOINT, page.last))
    return visit.page(
        "endpoints.html",
        endpoints=page.items,
        glances=await visit.uses.endpoints.glances(visit.tenant_id, page.items),
        sparks=await visit.uses.figures.sparks(visit.tenant_id, [one.id for one in page.items]),
        names=(await visit.uses.names.of(visit.tenant_id, tenant_ids=whose)).tenants,
        charts=charts,
        most_due=MOST_DUE,
        states=list(EndpointState),
        asked_states=states,
        troubled=troubled,
        words=words,
        first=visit.link("/endpoints", **asked) if query.text("behind") else None,
        more=more,
    )


ROUTES: Final = [get("/endpoints", every)]
