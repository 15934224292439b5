"""An endpoint's deliveries by sequence number."""

from typing import Self

from pydantic import Field

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage
from delivery.schemas.base import ResponseModel, TimestampOut, example_id


class SequencedDeliveryOut(ResponseModel):
    """A delivery with its sequence number."""

    sequence: int = Field(description="The header `waybill-sequence` of its requests.", examples=[1042])
    event_id: str = Field(examples=[example_id(Prefix.EVENT)], description="Also the `webhook-id`.")
    event_type: str = Field(examples=["order.created"])
    delivery_id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    status: DeliveryStatus
    attempts: int = Field(description="Number of attempts made.")
    created_at: TimestampOut
    finished_at: TimestampOut | None

    @classmethod
    def from_record(cls, delivery: SequencedDelivery) -> Self:
        """Show a delivery with its sequence number."""
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
    """An endpoint's deliveries, by sequence number."""

    items: list[SequencedDeliveryOut]
    next: int | None = Field(description="Pass it as `after` for the next page. Null: this was the last.")
    earliest: int | None = Field(
        description="The first number still stored; older ones are deleted. Null: none is."
    )
    latest: int = Field(description="The last number that was assigned. 0: nothing was sent yet.")

    @classmethod
    def from_record(cls, page: SequencePage) -> Self:
        """Show a page."""
        return cls(
            items=[SequencedDeliveryOut.from_record(delivery) for delivery in page.items],
            next=page.next_sequence,
            earliest=page.earliest,
            latest=page.latest,
        )
