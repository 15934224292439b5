"""Query parameters that select deliveries and events."""

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query

from delivery.domain.delivery_filter import MAX_ATTEMPTS, DeliveryFilter, parse_delivery_filter
from delivery.schemas.base import TimestampIn
from delivery.schemas.delivery_filter import SelectionIn

SinceQuery = Annotated[
    TimestampIn | None, Query(description="Only from this time on (RFC 3339, with a time zone).")
]
UntilQuery = Annotated[
    TimestampIn | None, Query(description="Only before this time (RFC 3339, with a time zone).")
]
SortOrder = Literal["newest", "oldest"]
OrderQuery = Annotated[SortOrder, Query(description="Which to list first.")]

# Described as in request bodies.
_HELP: Final = {name: field.description for name, field in SelectionIn.model_fields.items()}


def _read_delivery_filter(  # noqa: PLR0913, PLR0917  one for each query parameter
    endpoint: Annotated[list[str] | None, Query(description=_HELP["endpoint"])] = None,
    event: Annotated[str | None, Query(description=_HELP["event"])] = None,
    type: Annotated[list[str] | None, Query(description=_HELP["type"])] = None,  # noqa: A002  its name in the query
    status: Annotated[list[str] | None, Query(description=_HELP["status"])] = None,
    outcome: Annotated[list[str] | None, Query(description=_HELP["outcome"])] = None,
    response: Annotated[list[str] | None, Query(description=_HELP["response"])] = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    attempts_min: Annotated[int | None, Query(ge=0, le=MAX_ATTEMPTS)] = None,
    attempts_max: Annotated[int | None, Query(ge=0, le=MAX_ATTEMPTS)] = None,
    idempotency_key: Annotated[str | None, Query(description=_HELP["idempotency_key"])] = None,
    payload: Annotated[list[str] | None, Query(description=_HELP["payload"])] = None,
    held_by: Annotated[list[str] | None, Query(description=_HELP["held_by"])] = None,
) -> DeliveryFilter:
    parameters: dict[str, Any] = locals()
    return parse_delivery_filter(parameters)


DeliveryFilterDep = Annotated[DeliveryFilter, Depends(_read_delivery_filter)]
