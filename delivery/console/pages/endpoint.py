"""One endpoint: its health, its figures, its limits and its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console import charts
from delivery.console.pages.overview import SPANS, span_of
from delivery.console.terms import told_terms
from delivery.console.timeline import timeline
from delivery.console.visits import get
from delivery.figures import Span
from delivery.model import EndpointId, Prefix
from delivery.tracing.sentences import who

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Visit

# Of what waits for one endpoint a page counts no more.
MOST_COUNTED: Final = 10_000
_BACK: Final = {Span.HOUR: "1h", Span.DAY: "24h", Span.WEEK: "7d"}


async def one(visit: Visit) -> Response:
    """An endpoint with everything that is known of it."""
    endpoint_id = EndpointId(visit.id(Prefix.ENDPOINT))
    tenant_id = await visit.whose(Prefix.ENDPOINT, endpoint_id)
    span = span_of(visit)
    health = await visit.uses.endpoints.health(tenant_id, endpoint_id, most=MOST_COUNTED)
    secrets = await visit.uses.endpoints.secrets(tenant_id, endpoint_id)
    series = await visit.uses.figures.of_endpoint(tenant_id, endpoint_id, span)
    names = await visit.uses.names.of(tenant_id, tenant_ids=[tenant_id] if visit.is_staff else ())
    return visit.page(
        "endpoint.html",
        endpoint=health.endpoint,
        health=health,
        terms=told_terms(health.endpoint, visit.uses.settings),
        secrets=secrets,
        timeline=timeline(secrets, now=visit.now),
        series=series,
        charts=charts,
        span=span,
        spans=SPANS,
        back=_BACK[span],
        who=who,
        tenant_name=names.tenants.get(tenant_id),
    )


ROUTES: Final = [get("/endpoints/{id}", one)]
