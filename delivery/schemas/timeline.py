"""Timelines of deliveries and events."""

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
    description="Sentences that say what is left out, since the answer is bounded. Empty: nothing."
)


class StepOut(ResponseModel):
    """One entry of a timeline."""

    at: TimestampOut
    what: TimelineEntryKind
    sentence: str = Field(
        description="For humans.", examples=["The endpoint answered 503 Service Unavailable."]
    )
    details: dict[str, Any] = Field(description="Facts whose names depend on `what`.")

    @classmethod
    def from_record(cls, step: TimelineEntry) -> Self:
        """Show an entry."""
        details = {name: _to_json_value(value) for name, value in step.details.items()}
        return cls(at=step.at, what=step.kind, sentence=step.sentence, details=details)


class DeliveryTraceOut(ResponseModel):
    """Why a delivery has its status."""

    delivery: DeliveryOut
    url: str = Field(description="The endpoint's current URL; attempts have their own.")
    standing: str = Field(
        description="Why it has its status, and what happens next.",
        examples=["Waits for attempt 4 of 10, due at 2026-11-22 18:27:00 UTC."],
    )
    steps: list[StepOut] = Field(description="What happened, oldest first.")
    left_out: list[str] = LeftOutField

    @classmethod
    def from_record(cls, trace: DeliveryTimeline) -> Self:
        """Show a delivery's timeline."""
        return cls(
            delivery=DeliveryOut.from_record(trace.delivery),
            url=trace.url,
            standing=trace.summary,
            steps=[StepOut.from_record(step) for step in trace.steps],
            left_out=list(trace.left_out),
        )


class EventFateOut(ResponseModel):
    """How an event matched one endpoint."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    url: str
    verdict: MatchVerdict
    sentence: str = Field(examples=["Its filter includes order.*, but not invoice.paid."])
    filter: list[str] = Field(description="The endpoint's filter when the event was accepted.")
    channels: list[str] = Field(description="The endpoint's channels then. Empty: all events.")
    condition: str | None = Field(description="The endpoint's condition then. Null: none.")
    pattern: str | None = Field(description="The pattern of the filter that matched.")
    condition_failed: str | None = Field(
        description="Why the evaluation of the condition failed. The event is delivered then."
    )
    delivery_id: str | None = Field(description="Null: there is no delivery.")
    status: DeliveryStatus | None = Field(description="The delivery's status.")

    @classmethod
    def from_record(cls, fate: EventFate) -> Self:
        """Show how an event matched an endpoint."""
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
    """Which endpoints an event was delivered to, and why."""

    event: EventOut
    standing: str = Field(examples=["It was owed to 2 endpoints, and not to 1 other that there was."])
    endpoints: list[EventFateOut] = Field(
        description="Endpoints that existed when it was accepted, those with a delivery first."
    )
    made_later: int = Field(description="Number of endpoints that were created after it.")
    left_out: list[str] = LeftOutField

    @classmethod
    def from_record(cls, trace: EventTimeline) -> Self:
        """Show an event's timeline."""
        return cls(
            event=EventOut.from_record(trace.event),
            standing=trace.summary,
            endpoints=[EventFateOut.from_record(fate) for fate in trace.endpoints],
            made_later=trace.made_later,
            left_out=list(trace.left_out),
        )


def _to_json_value(value: object) -> object:
    return format_rfc3339(value) if isinstance(value, datetime) else value
