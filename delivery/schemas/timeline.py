"""How traces are shown."""

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from delivery.api.delivery_shapes import DeliveryOut
from delivery.api.event_shapes import EventOut
from delivery.api.shapes import Moment, Shown, example
from delivery.model import DeliveryStatus, Prefix, show_id
from delivery.moments import rfc3339
from delivery.tracing import DeliveryTrace, EventTrace, Fate, Step, Verdict, What

LeftOut = Field(description="What is not told of here, in sentences: the answer is bounded. Empty: nothing.")


class StepOut(Shown):
    """One thing that happened."""

    at: Moment
    what: What
    sentence: str = Field(
        description="For people.", examples=["The endpoint answered 503 Service Unavailable."]
    )
    details: dict[str, Any] = Field(description="The facts: which they are follows from `what`.")

    @classmethod
    def of(cls, step: Step) -> Self:
        """Show a step."""
        details = {name: _plain(value) for name, value in step.details.items()}
        return cls(at=step.at, what=step.what, sentence=step.sentence, details=details)


class DeliveryTraceOut(Shown):
    """Why a delivery is where it is."""

    delivery: DeliveryOut
    url: str = Field(description="Where its endpoint leads now; each attempt tells where it went.")
    standing: str = Field(
        description="Why it is where it is now, and what happens next.",
        examples=["Waits for attempt 4 of 10, due at 2026-11-22 18:27:00 UTC."],
    )
    steps: list[StepOut] = Field(description="Everything that happened, in order of time.")
    left_out: list[str] = LeftOut

    @classmethod
    def of(cls, trace: DeliveryTrace) -> Self:
        """Show a delivery's trace."""
        return cls(
            delivery=DeliveryOut.of(trace.delivery),
            url=trace.url,
            standing=trace.standing,
            steps=[StepOut.of(step) for step in trace.steps],
            left_out=list(trace.left_out),
        )


class FateOut(Shown):
    """What an event was to one endpoint."""

    endpoint_id: str = Field(examples=[example(Prefix.ENDPOINT)])
    url: str
    verdict: Verdict
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
    def of(cls, fate: Fate) -> Self:
        """Show what an event was to an endpoint."""
        delivery = fate.delivery
        return cls(
            endpoint_id=show_id(Prefix.ENDPOINT, fate.endpoint_id),
            url=fate.url,
            verdict=fate.verdict,
            sentence=fate.sentence,
            filter=list(fate.filter),
            channels=list(fate.channels),
            condition=fate.condition,
            pattern=fate.pattern,
            condition_failed=fate.condition_failed,
            delivery_id=None if delivery is None else show_id(Prefix.DELIVERY, delivery.id),
            status=None if delivery is None else delivery.status,
        )


class EventTraceOut(Shown):
    """Why an event went where it went, and nowhere else."""

    event: EventOut
    standing: str = Field(examples=["It was owed to 2 endpoints, and not to 1 other that there was."])
    endpoints: list[FateOut] = Field(
        description="The endpoints that there were when it came: those that it was owed to first."
    )
    made_later: int = Field(description="How many endpoints were made after it.")
    left_out: list[str] = LeftOut

    @classmethod
    def of(cls, trace: EventTrace) -> Self:
        """Show an event's trace."""
        return cls(
            event=EventOut.of(trace.event),
            standing=trace.standing,
            endpoints=[FateOut.of(fate) for fate in trace.endpoints],
            made_later=trace.made_later,
            left_out=list(trace.left_out),
        )


def _plain(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value
