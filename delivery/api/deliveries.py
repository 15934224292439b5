"""Deliveries and attempts: what is owed, what was tried, and asking for one again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from delivery.api.callers import ForTenant, Uses
from delivery.api.delivery_shapes import (
    AttemptList,
    AttemptOut,
    AttemptTold,
    DeliveryList,
    DeliveryOut,
    DeliveryTold,
)
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedPage,
    AttemptInPath,
    DeliveryInPath,
    Since,
    Until,
    check_range,
    id_in_query,
)
from delivery.deliveries import DeliverySelection
from delivery.model import DeliveryStatus, EndpointId, EventId, Prefix
from delivery.paging import Cut

router = APIRouter(prefix="/v1", tags=["deliveries"], route_class=StrictRoute)

LATEST = 20


def _selection(
    endpoint: Annotated[str | None, Query(description="Only to this endpoint: `ep_…`.")] = None,
    event: Annotated[str | None, Query(description="Only of this event: `evt_…`.")] = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only those that stand so.")] = None,
    since: Since = None,
    until: Until = None,
) -> DeliverySelection:
    check_range(since, until)
    endpoint_id = id_in_query(Prefix.ENDPOINT, "endpoint", endpoint)
    event_id = id_in_query(Prefix.EVENT, "event", event)
    return DeliverySelection(
        endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
        event_id=None if event_id is None else EventId(event_id),
        status=status,
        since=since,
        until=until,
    )


@router.get("/deliveries")
async def list_deliveries(
    uses: Uses, acting: ForTenant, asked: AskedPage, wanted: Annotated[DeliverySelection, Depends(_selection)]
) -> DeliveryList:
    """List deliveries, newest first. A page may hold fewer than `limit`, even none, and have a `next`."""
    scope = ("deliveries", acting.tenant_id, wanted)
    page = await uses.deliveries.page(acting.tenant_id, wanted, asked.cut(*scope))
    return DeliveryList(items=[DeliveryOut.of(d) for d in page.items], next=asked.next(page.last, *scope))


@router.get("/deliveries/{delivery_id}")
async def read_delivery(uses: Uses, acting: ForTenant, delivery_id: DeliveryInPath) -> DeliveryTold:
    """Read a delivery with its newest attempts."""
    delivery = await uses.deliveries.read(acting.tenant_id, delivery_id)
    latest = await uses.deliveries.attempts(acting.tenant_id, delivery_id, Cut(LATEST))
    return DeliveryTold.of(delivery, latest_attempts=[AttemptOut.of(a) for a in latest.items])


@router.get("/deliveries/{delivery_id}/attempts")
async def list_attempts(
    uses: Uses, acting: ForTenant, delivery_id: DeliveryInPath, asked: AskedPage
) -> AttemptList:
    """List the attempts of a delivery, newest first, without bodies."""
    scope = ("attempts", acting.tenant_id, delivery_id)
    page = await uses.deliveries.attempts(acting.tenant_id, delivery_id, asked.cut(*scope))
    return AttemptList(items=[AttemptOut.of(a) for a in page.items], next=asked.next(page.last, *scope))


@router.post("/deliveries/{delivery_id}/retry")
async def retry_delivery(uses: Uses, acting: ForTenant, delivery_id: DeliveryInPath) -> DeliveryOut:
    """Make a delivery due now: a waiting one sooner, a final one anew, under the same `webhook-id`."""
    return DeliveryOut.of(await uses.deliveries.retry(acting.tenant_id, delivery_id, actor=acting.actor.name))


@router.get("/attempts/{attempt_id}")
async def read_attempt(uses: Uses, acting: ForTenant, attempt_id: AttemptInPath) -> AttemptTold:
    """Read an attempt with the bodies that went out and came back."""
    told = await uses.deliveries.attempt(acting.tenant_id, attempt_id)
    return AttemptTold.told(told.attempt, told.body)
