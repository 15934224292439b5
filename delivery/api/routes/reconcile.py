"""Reconciling: what an endpoint was owed, number by number, so that a receiver can tell what it missed."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field

from delivery.api.http.auth import RequiresRead, ServicesDep
from delivery.api.http.parameters import MAX_PAGE_SIZE, EndpointInPath
from delivery.api.http.strict import StrictRoute
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.search.sequences import MAX_SEQUENCE, SequencedDelivery, SequencePage
from delivery.schemas.base import ResponseModel, TimestampOut, example_id

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


class SequencedDeliveryOut(ResponseModel):
    """A delivery under the number by which its endpoint knows it."""

    sequence: int = Field(description="What its requests carry as `waybill-sequence`.", examples=[1042])
    event_id: str = Field(examples=[example_id(Prefix.EVENT)], description="Also the `webhook-id`.")
    event_type: str = Field(examples=["order.created"])
    delivery_id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    status: DeliveryStatus
    attempts: int = Field(description="How many attempts were made.")
    created_at: TimestampOut
    finished_at: TimestampOut | None

    @classmethod
    def from_record(cls, delivery: SequencedDelivery) -> Self:
        """Show a delivery under its number."""
        return cls(
            sequence=delivery.sequence,
            event_id=format_id(Prefix.EVENT, delivery.event_id),
            event_type=delivery.event_type,
            delivery_id=format_id(Prefix.DELIVERY, delivery.delivery_id),
            status=delivery.status,
            attempts=delivery.attempts,
            created_at=delivery.created_at,
            finished_at=delivery.finished_at,
        )


class SequencedDeliveryList(ResponseModel):
    """What an endpoint was owed, in the order of its numbers."""

    items: list[SequencedDeliveryOut]
    next: int | None = Field(description="Pass it as `after` for the next page. Null: this was the last.")
    earliest: int | None = Field(
        description="The first number that is still kept; of older ones no history is left. Null: none is."
    )
    latest: int = Field(description="The last number that was given. 0: nothing went out yet.")

    @classmethod
    def from_record(cls, page: SequencePage) -> Self:
        """Show a page."""
        return cls(
            items=[SequencedDeliveryOut.from_record(one) for one in page.items],
            next=page.next_sequence,
            earliest=page.earliest,
            latest=page.latest,
        )


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
