"""Filter tests. The event is read as raw bytes, so the request's OpenAPI schema is written by hand."""

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
                            "description": "An event as a producer would send it. Or `event_id`.",
                        },
                        "event_id": {
                            "type": "string",
                            "description": "A past event, evaluated as if it were sent now.",
                            "examples": [example_id(Prefix.EVENT)],
                        },
                        "filter": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string"},
                            "description": "Used instead of the endpoint's own.",
                        },
                        "channels": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Used instead of the endpoint's own. Empty: no channels.",
                        },
                        "condition": {
                            "type": ["string", "null"],
                            "description": "Used instead of the endpoint's own. Null: no condition.",
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
    """Parse the event, and the overrides of the endpoint's settings. Raises Invalid and TooLarge."""
    trial = decode_json(_decoder, body, location="")
    overrides: EndpointChanges = {}
    if trial.filter is not msgspec.UNSET:
        overrides["filter"] = trial.filter
    if trial.channels is not msgspec.UNSET:
        overrides["channels"] = trial.channels
    if trial.condition is not msgspec.UNSET:
        overrides["condition"] = trial.condition
    return _parse_trial_event(trial, limits), overrides


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
    """The result of one part of a subscription."""

    passes: bool
    why: str = Field(examples=["Its filter includes order.*."])

    @classmethod
    def from_record(cls, part: FilterPartResult) -> Self:
        """Show a result."""
        return cls(passes=part.passes, why=part.reason)


class TypePartOut(PartOut):
    """The result of the event type filter."""

    pattern: str | None = Field(description="The pattern that matches the type.", examples=["order.*"])


class ConditionPartOut(PartOut):
    """The result of the condition."""

    failed: str | None = Field(description="Why the evaluation failed. The event passes then.")


class FilterTrialOut(ResponseModel):
    """Whether the event would be delivered to the endpoint, with the result of each part."""

    delivered: bool = Field(
        description="Whether a delivery would be created. Paused and disabled endpoints get them too."
    )
    sentence: str = Field(examples=["It would be delivered to the endpoint."])
    type: TypePartOut
    channels: PartOut
    condition: ConditionPartOut

    @classmethod
    def from_record(cls, trial: FilterTrial) -> Self:
        """Show a filter test."""
        return cls(
            delivered=trial.delivered,
            sentence=trial.sentence,
            type=TypePartOut(passes=trial.type.passes, why=trial.type.reason, pattern=trial.pattern),
            channels=PartOut.from_record(trial.channels),
            condition=ConditionPartOut(
                passes=trial.condition.passes, why=trial.condition.reason, failed=trial.condition_error
            ),
        )
