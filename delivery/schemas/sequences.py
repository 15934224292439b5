"""An endpoint's deliveries by sequence number."""

from typing import Self

from pydantic import Field

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage
from delivery.schemas.base import ResponseModel, TimestampOut, example_id


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
