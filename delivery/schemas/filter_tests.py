"""How a filter is tried out. Its event is read as the routes of events do it: bytes, and a schema by hand."""

from typing import Any, Self

import msgspec
from pydantic import Field

from delivery.accept import AcceptLimits, NewEvent, parse_event
from delivery.accept.parse import decode
from delivery.api.event_shapes import EVENT, EVENT_IN
from delivery.api.shapes import Shown, example
from delivery.endpoints import EndpointChanges, Part, Trial
from delivery.errors import Invalid, MalformedId
from delivery.model import EventId, Prefix, parse_id

ASKED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "event": {
                            **EVENT_IN,
                            "description": "An event as a producer would post it. Or `event_id`.",
                        },
                        "event_id": {
                            "type": "string",
                            "description": "A past event, judged as if it were posted now.",
                            "examples": [example(Prefix.EVENT)],
                        },
                        "filter": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string"},
                            "description": "To try instead of the endpoint's own.",
                        },
                        "channels": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "To try instead of the endpoint's own; empty: none.",
                        },
                        "condition": {
                            "type": ["string", "null"],
                            "description": "To try instead of the endpoint's own; null: none.",
                        },
                    },
                },
                "example": {"event": EVENT, "condition": "total >= `100`"},
            }
        },
    },
}


class _TrialIn(msgspec.Struct, forbid_unknown_fields=True):
    event: msgspec.Raw = msgspec.Raw()
    event_id: str | msgspec.UnsetType = msgspec.UNSET
    filter: list[str] | msgspec.UnsetType = msgspec.UNSET
    channels: list[str] | msgspec.UnsetType = msgspec.UNSET
    condition: str | msgspec.UnsetType | None = msgspec.UNSET


_decoder = msgspec.json.Decoder(_TrialIn)


def read_trial(body: bytes, limits: AcceptLimits) -> tuple[NewEvent | EventId, EndpointChanges]:
    """The event that is asked about, and what to try instead. Raises Invalid and TooLarge."""
    given = decode(_decoder, body, at="")
    instead: EndpointChanges = {}
    if given.filter is not msgspec.UNSET:
        instead["filter"] = given.filter
    if given.channels is not msgspec.UNSET:
        instead["channels"] = given.channels
    if given.condition is not msgspec.UNSET:
        instead["condition"] = given.condition
    return _about(given, limits), instead


def _about(given: _TrialIn, limits: AcceptLimits) -> NewEvent | EventId:
    event = bytes(given.event)
    if bool(event) == (given.event_id is not msgspec.UNSET):
        raise Invalid("event", "or event_id is needed: one of the two")
    if given.event_id is msgspec.UNSET:
        return parse_event(event, limits, at="event")
    try:
        return EventId(parse_id(Prefix.EVENT, given.event_id))
    except MalformedId as error:
        raise Invalid("event_id", str(error)) from None


class PartOut(Shown):
    """What one part of what an endpoint asks for says of the event."""

    passes: bool
    why: str = Field(examples=["Its filter asks for order.*."])

    @classmethod
    def of(cls, part: Part) -> Self:
        """Show a part."""
        return cls(passes=part.passes, why=part.why)


class TypePartOut(PartOut):
    """What the filter says of the event's type."""

    pattern: str | None = Field(description="The pattern that asks for it.", examples=["order.*"])


class ConditionPartOut(PartOut):
    """What the condition says of the event's data."""

    failed: str | None = Field(
        description="Why it could not be answered. An event passes a condition that cannot be answered."
    )


class FilterTrialOut(Shown):
    """Whether the event would be owed to the endpoint. Each part is judged by itself."""

    delivered: bool = Field(
        description="Whether it would be owed to it. A paused or disabled endpoint is owed events too."
    )
    sentence: str = Field(examples=["It would be owed to the endpoint."])
    type: TypePartOut
    channels: PartOut
    condition: ConditionPartOut

    @classmethod
    def of(cls, one: Trial) -> Self:
        """Show a trial."""
        return cls(
            delivered=one.delivered,
            sentence=one.sentence,
            type=TypePartOut(passes=one.type.passes, why=one.type.why, pattern=one.pattern),
            channels=PartOut.of(one.channels),
            condition=ConditionPartOut(passes=one.condition.passes, why=one.condition.why, failed=one.failed),
        )
