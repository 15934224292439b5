"""Reconciling: what an endpoint was owed, number by number, so that a receiver can tell what it missed."""

from typing import Annotated

from fastapi import APIRouter, Query

from delivery.api.http.auth import RequiresRead, ServicesDep
from delivery.api.http.parameters import MAX_PAGE_SIZE, EndpointInPath
from delivery.api.http.strict import StrictRoute
from delivery.ledger.search.sequences import MAX_SEQUENCE
from delivery.schemas.sequences import SequencedDeliveryList

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


@router.get("/{endpoint_id}/events")
async def list_endpoint_events(
    services: ServicesDep,
    caller: RequiresRead,
    endpoint_id: EndpointInPath,
    after: Annotated[
        int, Query(ge=0, le=MAX_SEQUENCE, description="Only what has a larger number than this.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="At most so many items.")] = 50,
) -> SequencedDeliveryList:
    """List what an endpoint was owed, in the order of the numbers that its requests carry.

    A delivery gets its number (`waybill-sequence`) when it first goes out, and keeps it in every retry and
    replay. Numbers go up by one: a receiver that has no request for one of them finds here what it was, and
    where it stands. What has never gone out yet has no number.
    """
    return SequencedDeliveryList.from_record(
        await services.deliveries.list_by_sequence(caller.tenant_id, endpoint_id, after, limit=limit)
    )
