"""The delivery filter as JSON, and the checks that bodies and query parameters share."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import Field

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter, check_http_status, check_outcome
from delivery.domain.errors import Invalid
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import EndpointId, EventId, Prefix
from delivery.domain.payload_path import PayloadEquals
from delivery.domain.validation import check_text, validating_field
from delivery.schemas.base import (
    RequestModel,
    TimestampIn,
    check_time_range,
    parse_query_id,
)
from retries.health import Hold

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MAX_FILTER_VALUES = 50
MAX_IDEMPOTENCY_KEY_LENGTH = 255
MAX_ATTEMPTS_FILTER = 1_000_000
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
    attempts_min: int | None = Field(None, ge=0, le=MAX_ATTEMPTS_FILTER)
    attempts_max: int | None = Field(None, ge=0, le=MAX_ATTEMPTS_FILTER)
    idempotency_key: str | None = Field(None, description="The idempotency key of the event.")
    payload: FilterValues = Field(
        default_factory=list, description="A value in the event's `data`: `$.order.id=1042`."
    )
    held_by: FilterValues = Field(default_factory=list, description="Deliveries that this holds now.")


def parse_selection(selection: SelectionIn, *, field_prefix: str = "") -> DeliveryFilter:
    """Parse and check every field. Raises Invalid naming the field."""
    try:
        check_time_range(selection.since, selection.until)
        event = parse_query_id(Prefix.EVENT, "event", selection.event)
        return DeliveryFilter(
            endpoints=tuple(
                EndpointId(parse_required_id(Prefix.ENDPOINT, "endpoint", one)) for one in selection.endpoint
            ),
            event_id=None if event is None else EventId(event),
            types=check_values("type", check_pattern, selection.type),
            statuses=check_values("status", _make_enum_parser(DeliveryStatus), selection.status),
            outcomes=check_values("outcome", check_outcome, selection.outcome),
            http=check_values("response", check_http_status, selection.response),
            since=selection.since,
            until=selection.until,
            attempts_min=selection.attempts_min,
            attempts_max=selection.attempts_max,
            idempotency_key=check_idempotency_key(selection.idempotency_key),
            payload=check_values("payload", PayloadEquals.parse, selection.payload),
            held_by=check_values("held_by", _make_enum_parser(Hold), selection.held_by),
        )
    except Invalid as error:
        raise Invalid(f"{field_prefix}{error.field}", error.why) from None


def check_values(name: str, check: Callable[[str], T], values: Sequence[str]) -> tuple[T, ...]:
    """Check each value of a field. Raises Invalid naming the field."""
    with validating_field(name):
        if len(values) > MAX_FILTER_VALUES:
            raise ValueError(f"may be given {MAX_FILTER_VALUES} times, not {len(values)}")
        return tuple(dict.fromkeys(check(value) for value in values))


def _make_enum_parser(kind: type[E]) -> Callable[[str], E]:
    def read(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            known = ", ".join(member.value for member in kind)
            raise ValueError(f"must be one of {known}") from None

    return read


def parse_required_id(prefix: Prefix, name: str, text: str) -> UUID:
    """Parse a required id. Raises Invalid naming the field."""
    found = parse_query_id(prefix, name, text)
    if found is None:
        raise Invalid(name, "is needed")
    return found


def check_idempotency_key(text: str | None) -> str | None:
    """Check an idempotency key in a search. Raises Invalid."""
    with validating_field("idempotency_key"):
        return None if text is None else check_text(text, min_length=1, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
