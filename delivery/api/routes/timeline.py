"""Traces: why a delivery has its status, and why an event was delivered to its endpoints."""

from fastapi import APIRouter

from delivery.api.http.auth import RequiresRead, ServicesDep
from delivery.api.http.parameters import DeliveryInPath, EventInPath
from delivery.api.http.strict import StrictRoute
from delivery.schemas.timeline import DeliveryTraceOut, EventTraceOut

router = APIRouter(prefix="/v1", tags=["traces"], route_class=StrictRoute)


@router.get("/deliveries/{delivery_id}/trace")
async def trace_delivery(
    services: ServicesDep, caller: RequiresRead, delivery_id: DeliveryInPath
) -> DeliveryTraceOut:
    """Explain a delivery's status: everything that happened to it, and what happens next."""
    return DeliveryTraceOut.from_record(
        await services.timelines.load_delivery_timeline(caller.tenant_id, delivery_id)
    )


@router.get("/events/{event_id}/trace")
async def trace_event(services: ServicesDep, caller: RequiresRead, event_id: EventInPath) -> EventTraceOut:
    """Explain which endpoints an event was delivered to, and why not to the others."""
    return EventTraceOut.from_record(await services.timelines.load_event_timeline(caller.tenant_id, event_id))
