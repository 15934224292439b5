"""The delivery filter as JSON."""

from typing import Annotated

from pydantic import Field

from delivery.domain.delivery_filter import MAX_ATTEMPTS, MAX_FILTER_VALUES
from delivery.schemas.base import RequestModel, TimestampIn

FilterValues = Annotated[list[str], Field(default_factory=list, max_length=MAX_FILTER_VALUES)]


class SelectionIn(RequestModel):
    """A delivery filter: deliveries match every field, and any value of each field."""

    endpoint: FilterValues = Field(
        default_factory=list, description="Deliveries to one of these endpoints: `ep_…`."
    )
    event: str | None = Field(None, description="Deliveries of this event: `evt_…`.")
    type: FilterValues = Field(default_factory=list, description="Event types: `order.*`.")
    status: FilterValues = Field(default_factory=list, description="Deliveries with one of these statuses.")
    outcome: FilterValues = Field(
        default_factory=list, description="The outcome of the last attempt: `refused`, `timed_out` …"
    )
    response: FilterValues = Field(
        default_factory=list, description="The HTTP status of the last attempt: `503`, `5xx`."
    )
    since: Annotated[TimestampIn | None, Field(strict=False)] = None
    until: Annotated[TimestampIn | None, Field(strict=False)] = None
    attempts_min: int | None = Field(None, ge=0, le=MAX_ATTEMPTS)
    attempts_max: int | None = Field(None, ge=0, le=MAX_ATTEMPTS)
    idempotency_key: str | None = Field(None, description="The idempotency key of the event.")
    payload: FilterValues = Field(
        default_factory=list, description="A value in the event's `data`: `$.order.id=1042`."
    )
    held_by: FilterValues = Field(default_factory=list, description="Deliveries that this holds now.")
