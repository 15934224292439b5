"""Traces: why a delivery is where it is, and why an event went where it went."""

from fastapi import APIRouter

from delivery.api.callers import Reading, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import DeliveryInPath, EventInPath
from delivery.api.trace_shapes import DeliveryTraceOut, EventTraceOut

router = APIRouter(prefix="/v1", tags=["traces"], route_class=StrictRoute)


@router.get("/deliveries/{delivery_id}/trace")
async def trace_delivery(uses: Uses, acting: Reading, delivery_id: DeliveryInPath) -> DeliveryTraceOut:
    """Tell why a delivery is where it is: everything that happened to it, and what happens next."""
    return DeliveryTraceOut.of(await uses.traces.of_delivery(acting.tenant_id, delivery_id))


@router.get("/events/{event_id}/trace")
async def trace_event(uses: Uses, acting: Reading, event_id: EventInPath) -> EventTraceOut:
    """Tell to which endpoints an event went and why, and why it did not go to the others."""
    return EventTraceOut.of(await uses.traces.of_event(acting.tenant_id, event_id))
