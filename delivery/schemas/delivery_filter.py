"""Which deliveries are meant: the same filters in a query and in a body."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field

from delivery.api.callers import TENANT_HEADER, Caller
from delivery.api.shapes import AskedMoment, Given, Since, Until, check_range, id_in_query
from delivery.checks import check_text, field
from delivery.errors import Invalid
from delivery.filters import check_pattern
from delivery.model import DeliveryStatus, EndpointId, EventId, Prefix
from delivery.payload import PayloadEquals
from delivery.selection import DeliverySelection, check_http, check_outcome
from retries.health import Hold

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MOST_VALUES = 50
LONGEST_KEY = 255
Order = Literal["newest", "oldest"]
AskedOrder = Annotated[Order, Query(description="Which come first.")]
Many = Annotated[list[str], Field(default_factory=list, max_length=MOST_VALUES)]


class SelectionIn(Given):
    """Which deliveries are meant: those that meet every filter, and of each any of its values."""

    endpoint: Many = Field(default_factory=list, description="To any of these endpoints: `ep_…`.")
    event: str | None = Field(None, description="Of this event: `evt_…`.")
    type: Many = Field(default_factory=list, description="Of these event types: `order.*`.")
    status: Many = Field(default_factory=list, description="Those that stand so.")
    outcome: Many = Field(default_factory=list, description="Whose last attempt came to this.")
    response: Many = Field(default_factory=list, description="Whose last answer was this: `503`, `5xx`.")
    since: Annotated[AskedMoment | None, Field(strict=False)] = None
    until: Annotated[AskedMoment | None, Field(strict=False)] = None
    attempts_min: int | None = Field(None, ge=0, le=1_000_000)
    attempts_max: int | None = Field(None, ge=0, le=1_000_000)
    idempotency_key: str | None = Field(None, description="Whose event came under this key.")
    payload: Many = Field(
        default_factory=list, description="Whose event holds this: `$.order.id=1042`, from its `data` on."
    )
    held_by: Many = Field(default_factory=list, description="Those that are held by this now.")


def selection_of(given: SelectionIn, *, within: str = "") -> DeliverySelection:
    """Check every filter; raises Invalid, which names it."""
    try:
        check_range(given.since, given.until)
        event = id_in_query(Prefix.EVENT, "event", given.event)
        return DeliverySelection(
            endpoints=tuple(EndpointId(id_of(Prefix.ENDPOINT, "endpoint", one)) for one in given.endpoint),
            event_id=None if event is None else EventId(event),
            types=checked_values("type", check_pattern, given.type),
            statuses=checked_values("status", _member(DeliveryStatus), given.status),
            outcomes=checked_values("outcome", check_outcome, given.outcome),
            http=checked_values("response", check_http, given.response),
            since=given.since,
            until=given.until,
            attempts_min=given.attempts_min,
            attempts_max=given.attempts_max,
            idempotency_key=checked_key(given.idempotency_key),
            payload=checked_values("payload", PayloadEquals.parse, given.payload),
            held_by=checked_values("held_by", _member(Hold), given.held_by),
        )
    except Invalid as error:
        raise Invalid(f"{within}{error.field}", error.why) from None


def refuse_unless_cheap(seeing: Caller, wanted: DeliverySelection) -> None:
    """Raise Invalid for what can be looked up for one tenant only, when all are asked for."""
    if seeing.tenant_id is not None or wanted.endpoints:
        return
    for name, value in (("held_by", wanted.held_by), ("idempotency_key", wanted.idempotency_key)):
        if value:
            raise Invalid(name, f"needs a tenant: name it in the header {TENANT_HEADER}")


def checked_values(name: str, check: Callable[[str], T], values: Sequence[str]) -> tuple[T, ...]:
    """Check each value of a filter; raises Invalid, which names the filter."""
    with field(name):
        if len(values) > MOST_VALUES:
            raise ValueError(f"may be given {MOST_VALUES} times, not {len(values)}")
        return tuple(dict.fromkeys(check(value) for value in values))


def _member(kind: type[E]) -> Callable[[str], E]:
    def read(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            known = ", ".join(member.value for member in kind)
            raise ValueError(f"must be one of {known}") from None

    return read


def id_of(prefix: Prefix, name: str, text: str) -> UUID:
    """Read an id that must be there; raises Invalid, which names the field."""
    found = id_in_query(prefix, name, text)
    if found is None:
        raise Invalid(name, "is needed")
    return found


def checked_key(text: str | None) -> str | None:
    """Check an idempotency key that is searched for; raises Invalid."""
    with field("idempotency_key"):
        return None if text is None else check_text(text, least=1, most=LONGEST_KEY)


def _asked(  # noqa: PLR0913, PLR0917  one for each query parameter
    endpoint: Annotated[list[str] | None, Query(description="To any of these endpoints: `ep_…`.")] = None,
    event: Annotated[str | None, Query(description="Of this event: `evt_…`.")] = None,
    type_: Annotated[
        list[str] | None, Query(alias="type", description="Of these event types: `order.*`.")
    ] = None,
    status: Annotated[list[str] | None, Query(description="Those that stand so.")] = None,
    outcome: Annotated[
        list[str] | None, Query(description="Whose last attempt came to this: `refused`, `timed_out` …")
    ] = None,
    response: Annotated[
        list[str] | None, Query(description="Whose last answer was this: `503`, `5xx`.")
    ] = None,
    since: Since = None,
    until: Until = None,
    attempts_min: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    attempts_max: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    idempotency_key: Annotated[str | None, Query(description="Whose event came under this key.")] = None,
    payload: Annotated[
        list[str] | None,
        Query(description="Whose event holds this, from its `data` on: `$.order.id=1042`, `$.sku=A1`."),
    ] = None,
    held_by: Annotated[list[str] | None, Query(description="Those that are held by this now.")] = None,
) -> DeliverySelection:
    return selection_of(
        SelectionIn.model_construct(
            endpoint=endpoint or [],
            event=event,
            type=type_ or [],
            status=status or [],
            outcome=outcome or [],
            response=response or [],
            since=since,
            until=until,
            attempts_min=attempts_min,
            attempts_max=attempts_max,
            idempotency_key=idempotency_key,
            payload=payload or [],
            held_by=held_by or [],
        )
    )


AskedSelection = Annotated[DeliverySelection, Depends(_asked)]
