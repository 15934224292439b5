"""Erasure: the content of an event, and what came back to an attempt, taken away for good."""

from typing import Annotated

from fastapi import APIRouter, Query

from delivery.api.callers import Managing, Uses
from delivery.api.delivery_shapes import AttemptOut
from delivery.api.event_shapes import EventOut
from delivery.api.routing import StrictRoute
from delivery.api.shapes import AttemptInPath, EventInPath, Reason

router = APIRouter(prefix="/v1", route_class=StrictRoute)


@router.delete("/events/{event_id}/content", tags=["events"])
async def erase_event_content(
    uses: Uses,
    acting: Managing,
    event_id: EventInPath,
    cancel_pending: Annotated[  # noqa: FBT002  a query parameter
        bool, Query(description="Cancel the deliveries of it that are still owed.")
    ] = False,
    reason: Reason = None,
) -> EventOut:
    """Erase the content of an event for good. That it happened, and the hash of its body, stay.

    409 while it is still owed to an endpoint. With `cancel_pending` those deliveries are cancelled
    (`payload_erased`), and 409 means that one is being attempted just now: ask again in a moment.
    """
    erased = await uses.erasure.event(
        acting.tenant_id, event_id, cancel_pending=cancel_pending, reason=reason, actor=acting.actor
    )
    return EventOut.of(erased)


@router.delete("/attempts/{attempt_id}/content", tags=["deliveries"])
async def erase_attempt_content(
    uses: Uses, acting: Managing, attempt_id: AttemptInPath, reason: Reason = None
) -> AttemptOut:
    """Erase for good the headers and the body of what came back. What came of the attempt stays."""
    erased = await uses.erasure.attempt(acting.tenant_id, attempt_id, reason=reason, actor=acting.actor)
    return AttemptOut.of(erased)
