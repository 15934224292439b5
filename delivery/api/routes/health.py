"""Whether this process lives, and whether it can serve."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from delivery.api.callers import AsOperator, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import Shown
from delivery.bootstrap import clock
from delivery.errors import Misconfigured, Unavailable
from delivery.ledger import readiness
from delivery.metrics.exposition import CONTENT_TYPE_LATEST, page

router = APIRouter(tags=["health"], route_class=StrictRoute)


class HealthOut(Shown):
    """All is well."""

    status: str = "ok"


@router.get("/healthz")
async def alive() -> HealthOut:
    """Whether the process lives: it answers."""
    return HealthOut()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(_actor: AsOperator) -> Response:
    """Figures of this process, for Prometheus."""
    return Response(page(), media_type=CONTENT_TYPE_LATEST)


@router.get("/readyz")
async def ready(uses: Uses) -> HealthOut:
    """Whether events can be accepted: the ledger answers and is ready for today. The broker is not asked."""
    try:
        await readiness.check(uses.ledger, now=clock())
    except Misconfigured as error:
        raise Unavailable(str(error)) from error
    return HealthOut()
