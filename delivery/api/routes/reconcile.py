"""Reconciling: what an endpoint was owed, number by number, so that a receiver can tell what it missed."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field

from delivery.api.callers import Reading, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import MOST_ITEMS, EndpointInPath, Moment, Shown, example
from delivery.deliveries import LARGEST_NUMBER, Numbered, Numbers
from delivery.model import DeliveryStatus, Prefix, show_id

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


class NumberedOut(Shown):
    """A delivery under the number by which its endpoint knows it."""

    sequence: int = Field(description="What its requests carry as `waybill-sequence`.", examples=[1042])
    event_id: str = Field(examples=[example(Prefix.EVENT)], description="Also the `webhook-id`.")
    event_type: str = Field(examples=["order.created"])
    delivery_id: str = Field(examples=[example(Prefix.DELIVERY)])
    status: DeliveryStatus
    attempts: int = Field(description="How many attempts were made.")
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, one: Numbered) -> Self:
        """Show a delivery under its number."""
        return cls(
            sequence=one.sequence,
            event_id=show_id(Prefix.EVENT, one.event_id),
            event_type=one.event_type,
            delivery_id=show_id(Prefix.DELIVERY, one.delivery_id),
            status=one.status,
            attempts=one.attempts,
            created_at=one.created_at,
            finished_at=one.finished_at,
        )


class NumberedList(Shown):
    """What an endpoint was owed, in the order of its numbers."""

    items: list[NumberedOut]
    next: int | None = Field(description="Pass it as `after` for the next page. Null: this was the last.")
    earliest: int | None = Field(
        description="The first number that is still kept; of older ones no history is left. Null: none is."
    )
    latest: int = Field(description="The last number that was given. 0: nothing went out yet.")

    @classmethod
    def of(cls, numbers: Numbers) -> Self:
        """Show a page."""
        return cls(
            items=[NumberedOut.of(one) for one in numbers.items],
            next=numbers.next,
            earliest=numbers.earliest,
            latest=numbers.latest,
        )


@router.get("/{endpoint_id}/events")
async def list_endpoint_events(
    uses: Uses,
    acting: Reading,
    endpoint_id: EndpointInPath,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_NUMBER, description="Only what has a larger number than this.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ITEMS, description="At most so many items.")] = 50,
) -> NumberedList:
    """List what an endpoint was owed, in the order of the numbers that its requests carry.

    A delivery gets its number (`waybill-sequence`) when it first goes out, and keeps it in every retry and
    replay. Numbers go up by one: a receiver that has no request for one of them finds here what it was, and
    where it stands. What has never gone out yet has no number.
    """
    return NumberedList.of(await uses.deliveries.numbered(acting.tenant_id, endpoint_id, after, most=limit))
