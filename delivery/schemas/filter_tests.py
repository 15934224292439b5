"""How a filter is tried out. Its event is read as the routes of events do it: bytes, and a schema by hand."""

from typing import Any, Self

import msgspec
from pydantic import Field

from delivery.domain.errors import Invalid, MalformedId
from delivery.domain.ids import EventId, Prefix, parse_id
from delivery.pipeline.parsing import IntakeLimits, NewEvent, decode_json, parse_event
from delivery.schemas.base import ResponseModel, example_id
from delivery.schemas.events import EVENT_EXAMPLE, EVENT_SCHEMA
from delivery.services.endpoints.filter_test import FilterPartResult, FilterTrial
from delivery.services.endpoints.validation import EndpointChanges

FILTER_TEST_OPERATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "event": {
                            **EVENT_SCHEMA,
                            "description": "An event as a producer would post it. Or `event_id`.",
                        },
                        "event_id": {
                            "type": "string",
                            "description": "A past event, judged as if it were posted now.",
                            "examples": [example_id(Prefix.EVENT)],
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
                "example": {"event": EVENT_EXAMPLE, "condition": "total >= `100`"},
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


def parse_trial(body: bytes, limits: IntakeLimits) -> tuple[NewEvent | EventId, EndpointChanges]:
    """The event that is asked about, and what to try instead. Raises Invalid and TooLarge."""
    given = decode_json(_decoder, body, location="")
    instead: EndpointChanges = {}
    if given.filter is not msgspec.UNSET:
        instead["filter"] = given.filter
    if given.channels is not msgspec.UNSET:
        instead["channels"] = given.channels
    if given.condition is not msgspec.UNSET:
        instead["condition"] = given.condition
    return _parse_trial_event(given, limits), instead


def _parse_trial_event(trial: _TrialIn, limits: IntakeLimits) -> NewEvent | EventId:
    event = bytes(trial.event)
    if bool(event) == (trial.event_id is not msgspec.UNSET):
        raise Invalid("event", "or event_id is needed: one of the two")
    if trial.event_id is msgspec.UNSET:
        return parse_event(event, limits, location="event")
    try:
        return EventId(parse_id(Prefix.EVENT, trial.event_id))
    except MalformedId as error:
        raise Invalid("event_id", str(error)) from None


class PartOut(ResponseModel):
    """What one part of what an endpoint asks for says of the event."""

    passes: bool
    why: str = Field(examples=["Its filter asks for order.*."])

    @classmethod
    def from_record(cls, part: FilterPartResult) -> Self:
        """Show a part."""
        return cls(passes=part.passes, why=part.reason)


class TypePartOut(PartOut):
    """What the filter says of the event's type."""

    pattern: str | None = Field(description="The pattern that asks for it.", examples=["order.*"])


class ConditionPartOut(PartOut):
    """What the condition says of the event's data."""

    failed: str | None = Field(
        description="Why it could not be answered. An event passes a condition that cannot be answered."
    )


class FilterTrialOut(ResponseModel):
    """Whether the event would be owed to the endpoint. Each part is judged by itself."""

    delivered: bool = Field(
        description="Whether it would be owed to it. A paused or disabled endpoint is owed events too."
    )
    sentence: str = Field(examples=["It would be owed to the endpoint."])
    type: TypePartOut
    channels: PartOut
    condition: ConditionPartOut

    @classmethod
    def from_record(cls, trial: FilterTrial) -> Self:
        """Show a trial."""
        return cls(
            delivered=trial.delivered,
            sentence=trial.sentence,
            type=TypePartOut(passes=trial.type.passes, why=trial.type.reason, pattern=trial.pattern),
            channels=PartOut.from_record(trial.channels),
            condition=ConditionPartOut(
                passes=trial.condition.passes, why=trial.condition.reason, failed=trial.condition_error
            ),
        )
