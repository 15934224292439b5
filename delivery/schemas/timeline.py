"""How traces are shown."""

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.durations import format_rfc3339
from delivery.domain.ids import Prefix, format_id
from delivery.schemas.base import ResponseModel, TimestampOut, example_id
from delivery.schemas.deliveries import DeliveryOut
from delivery.schemas.events import EventOut
from delivery.services.timeline.delivery_entries import DeliveryTimeline
from delivery.services.timeline.entries import TimelineEntry, TimelineEntryKind
from delivery.services.timeline.event_entries import EventFate, EventTimeline, MatchVerdict

LeftOutField = Field(
    description="What is not told of here, in sentences: the answer is bounded. Empty: nothing."
)


class StepOut(ResponseModel):
    """One thing that happened."""

    at: TimestampOut
    what: TimelineEntryKind
    sentence: str = Field(
        description="For people.", examples=["The endpoint answered 503 Service Unavailable."]
    )
    details: dict[str, Any] = Field(description="The facts: which they are follows from `what`.")

    @classmethod
    def from_record(cls, step: TimelineEntry) -> Self:
        """Show a step."""
        details = {name: _to_json_value(value) for name, value in step.details.items()}
        return cls(at=step.at, what=step.kind, sentence=step.sentence, details=details)


class DeliveryTraceOut(ResponseModel):
    """Why a delivery is where it is."""

    delivery: DeliveryOut
    url: str = Field(description="Where its endpoint leads now; each attempt tells where it went.")
    standing: str = Field(
        description="Why it is where it is now, and what happens next.",
        examples=["Waits for attempt 4 of 10, due at 2026-11-22 18:27:00 UTC."],
    )
    steps: list[StepOut] = Field(description="Everything that happened, in order of time.")
    left_out: list[str] = LeftOutField

    @classmethod
    def from_record(cls, trace: DeliveryTimeline) -> Self:
        """Show a delivery's trace."""
        return cls(
            delivery=DeliveryOut.from_record(trace.delivery),
            url=trace.url,
            standing=trace.summary,
            steps=[StepOut.from_record(step) for step in trace.steps],
            left_out=list(trace.left_out),
        )


class EventFateOut(ResponseModel):
    """What an event was to one endpoint."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    url: str
    verdict: MatchVerdict
    sentence: str = Field(examples=["Its filter asks for order.*; not for invoice.paid."])
    filter: list[str] = Field(description="Its filter as it was when the event came.")
    channels: list[str] = Field(description="The channels that it asked for then. Empty: whatever comes.")
    condition: str | None = Field(description="Its condition then. Null: whatever events hold.")
    pattern: str | None = Field(description="Which pattern of its filter asked for the event.")
    condition_failed: str | None = Field(
        description="Why its condition could not be answered for the event, which is sent to it all the same."
    )
    delivery_id: str | None = Field(description="Null: the event is not owed to it.")
    status: DeliveryStatus | None = Field(description="Where that delivery stands.")

    @classmethod
    def from_record(cls, fate: EventFate) -> Self:
        """Show what an event was to an endpoint."""
        delivery = fate.delivery
        return cls(
            endpoint_id=format_id(Prefix.ENDPOINT, fate.endpoint_id),
            url=fate.url,
            verdict=fate.verdict,
            sentence=fate.sentence,
            filter=list(fate.filter),
            channels=list(fate.channels),
            condition=fate.condition,
            pattern=fate.pattern,
            condition_failed=fate.condition_failed,
            delivery_id=None if delivery is None else format_id(Prefix.DELIVERY, delivery.id),
            status=None if delivery is None else delivery.status,
        )


class EventTraceOut(ResponseModel):
    """Why an event went where it went, and nowhere else."""

    event: EventOut
    standing: str = Field(examples=["It was owed to 2 endpoints, and not to 1 other that there was."])
    endpoints: list[EventFateOut] = Field(
        description="The endpoints that there were when it came: those that it was owed to first."
    )
    made_later: int = Field(description="How many endpoints were made after it.")
    left_out: list[str] = LeftOutField

    @classmethod
    def from_record(cls, trace: EventTimeline) -> Self:
        """Show an event's trace."""
        return cls(
            event=EventOut.from_record(trace.event),
            standing=trace.summary,
            endpoints=[EventFateOut.from_record(fate) for fate in trace.endpoints],
            made_later=trace.made_later,
            left_out=list(trace.left_out),
        )


def _to_json_value(value: object) -> object:
    return format_rfc3339(value) if isinstance(value, datetime) else value
