"""Permanent erasure of events' contents and of attempts' responses."""

from typing import Annotated

from fastapi import APIRouter, Query

from delivery.api.http.auth import RequiresManage, ServicesDep
from delivery.api.http.parameters import AttemptInPath, EventInPath, ReasonQuery
from delivery.api.http.strict import StrictRoute
from delivery.schemas.deliveries import AttemptOut
from delivery.schemas.events import EventOut

router = APIRouter(prefix="/v1", route_class=StrictRoute)


@router.delete("/events/{event_id}/content", tags=["events"])
async def erase_event_content(
    services: ServicesDep,
    caller: RequiresManage,
    event_id: EventInPath,
    cancel_pending: Annotated[  # noqa: FBT002  a query parameter
        bool, Query(description="Cancel its pending deliveries.")
    ] = False,
    reason: ReasonQuery = None,
) -> EventOut:
    """Erase the content of an event permanently. Its record and the hash of its body stay.

    409 while it has pending deliveries. `cancel_pending` cancels them (`payload_erased`); then 409 means
    that an attempt is in progress: try again in a moment.
    """
    erased = await services.erasure.erase_event(
        caller.tenant_id, event_id, cancel_pending=cancel_pending, reason=reason, actor=caller.actor
    )
    return EventOut.from_record(erased)


@router.delete("/attempts/{attempt_id}/content", tags=["deliveries"])
async def erase_attempt_content(
    services: ServicesDep, caller: RequiresManage, attempt_id: AttemptInPath, reason: ReasonQuery = None
) -> AttemptOut:
    """Erase the headers and the body of an attempt's response permanently. Its outcome stays."""
    erased = await services.erasure.erase_attempt(
        caller.tenant_id, attempt_id, reason=reason, actor=caller.actor
    )
    return AttemptOut.from_record(erased)
