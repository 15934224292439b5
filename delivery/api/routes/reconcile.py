"""Reconciliation: an endpoint's deliveries by sequence number, so that a receiver can find missed ones."""

from typing import Annotated

from fastapi import APIRouter, Query

from delivery.api.http.auth import RequiresRead, ServicesDep
from delivery.api.http.parameters import MAX_PAGE_SIZE, EndpointInPath
from delivery.api.http.strict import StrictRoute
from delivery.domain.pagination import MAX_SEQUENCE
from delivery.schemas.sequences import SequencedDeliveryList

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


@router.get("/{endpoint_id}/events")
async def list_endpoint_events(
    services: ServicesDep,
    caller: RequiresRead,
    endpoint_id: EndpointInPath,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE, description="Only numbers after this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="Maximum number of items.")] = 50,
) -> SequencedDeliveryList:
    """List an endpoint's deliveries by sequence number.

    A delivery gets its number (`waybill-sequence`) when it is first sent, and keeps it in retries and
    replays. Numbers increase by one: a receiver that misses one can look up its delivery and status here.
    Deliveries that have not been sent yet have no number.
    """
    return SequencedDeliveryList.from_record(
        await services.deliveries.list_by_sequence(caller.tenant_id, endpoint_id, after, limit=limit)
    )
