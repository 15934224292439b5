"""Liveness, readiness and metrics of this process."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from delivery.api.http.auth import RequiresOperator, ServicesDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db import readiness
from delivery.schemas.health import HealthOut
from delivery.telemetry.metrics.prometheus import CONTENT_TYPE_LATEST, render_metrics

router = APIRouter(tags=["health"], route_class=StrictRoute)


@router.get("/healthz")
async def alive() -> HealthOut:
    """Check that the process is alive."""
    return HealthOut()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(_actor: RequiresOperator) -> Response:
    """Metrics of this process, for Prometheus."""
    return Response(render_metrics(), media_type=CONTENT_TYPE_LATEST)


@router.get("/readyz")
async def ready(services: ServicesDep) -> HealthOut:
    """Check that events can be accepted: the database answers and has today's partitions."""
    try:
        await readiness.check_readiness(services.ledger, now=services.clock())
    except Misconfigured as error:
        raise Unavailable(str(error)) from error
    return HealthOut()
