"""Erasure: the content of an event, and what came back to an attempt, taken away for good."""

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
        bool, Query(description="Cancel the deliveries of it that are still owed.")
    ] = False,
    reason: ReasonQuery = None,
) -> EventOut:
    """Erase the content of an event for good. That it happened, and the hash of its body, stay.

    409 while it is still owed to an endpoint. With `cancel_pending` those deliveries are cancelled
    (`payload_erased`), and 409 means that one is being attempted just now: ask again in a moment.
    """
    erased = await services.erasure.erase_event(
        caller.tenant_id, event_id, cancel_pending=cancel_pending, reason=reason, actor=caller.actor
    )
    return EventOut.from_record(erased)


@router.delete("/attempts/{attempt_id}/content", tags=["deliveries"])
async def erase_attempt_content(
    services: ServicesDep, caller: RequiresManage, attempt_id: AttemptInPath, reason: ReasonQuery = None
) -> AttemptOut:
    """Erase for good the headers and the body of what came back. What came of the attempt stays."""
    erased = await services.erasure.erase_attempt(
        caller.tenant_id, attempt_id, reason=reason, actor=caller.actor
    )
    return AttemptOut.from_record(erased)
