"""Deliveries and attempts: what is owed, what was tried, and asking for one again."""

from fastapi import APIRouter

from delivery.api.callers import Reading, Replaying, Seeing, Uses
from delivery.api.delivery_shapes import (
    AttemptList,
    AttemptOut,
    AttemptTold,
    CountOut,
    DeliveryList,
    DeliveryOut,
    DeliveryTold,
    ReplayOneIn,
)
from delivery.api.routing import StrictRoute
from delivery.api.selections import AskedOrder, AskedSelection, refuse_unless_cheap
from delivery.api.shapes import AskedPage, AttemptInPath, DeliveryInPath
from delivery.paging import Cut

router = APIRouter(prefix="/v1", tags=["deliveries"], route_class=StrictRoute)

LATEST = 20


@router.get("/deliveries")
async def list_deliveries(
    uses: Uses, seeing: Seeing, asked: AskedPage, wanted: AskedSelection, order: AskedOrder = "newest"
) -> DeliveryList:
    """Search for deliveries. A page may hold fewer than `limit`, even none, and have a `next`.

    The operator sees all tenants' unless the header `Waybill-Tenant` names one.
    """
    refuse_unless_cheap(seeing, wanted)
    scope = ("deliveries", seeing.tenant_id, wanted, order)
    cut = asked.cut(*scope, oldest_first=order == "oldest")
    page = await uses.deliveries.page(seeing.tenant_id, wanted, cut)
    return DeliveryList(items=[DeliveryOut.of(d) for d in page.items], next=asked.next(page.last, *scope))


@router.get("/deliveries/count")
async def count_deliveries(uses: Uses, seeing: Seeing, wanted: AskedSelection) -> CountOut:
    """Count what a search finds: exactly where that is cheap, otherwise an estimate that says so."""
    refuse_unless_cheap(seeing, wanted)
    counted = await uses.deliveries.count(seeing.tenant_id, wanted)
    return CountOut(count=counted.count, exact=counted.exact)


@router.get("/deliveries/{delivery_id}")
async def read_delivery(uses: Uses, acting: Reading, delivery_id: DeliveryInPath) -> DeliveryTold:
    """Read a delivery with its newest attempts."""
    delivery = await uses.deliveries.read(acting.tenant_id, delivery_id)
    latest = await uses.deliveries.attempts(acting.tenant_id, delivery_id, Cut(LATEST))
    return DeliveryTold.of(delivery, latest_attempts=[AttemptOut.of(a) for a in latest.items])


@router.get("/deliveries/{delivery_id}/attempts")
async def list_attempts(
    uses: Uses, acting: Reading, delivery_id: DeliveryInPath, asked: AskedPage
) -> AttemptList:
    """List the attempts of a delivery, newest first, without bodies."""
    scope = ("attempts", acting.tenant_id, delivery_id)
    page = await uses.deliveries.attempts(acting.tenant_id, delivery_id, asked.cut(*scope))
    return AttemptList(items=[AttemptOut.of(a) for a in page.items], next=asked.next(page.last, *scope))


@router.post("/deliveries/{delivery_id}/replay")
async def replay_delivery(
    uses: Uses, acting: Replaying, delivery_id: DeliveryInPath, given: ReplayOneIn | None = None
) -> DeliveryOut:
    """Send a delivery again: a waiting one now, a final one anew, the same bytes under the same `webhook-id`.

    It is signed with today's secrets. What waits for an automatic retry is sent once, not twice.
    """
    asked = given or ReplayOneIn()
    again = await uses.deliveries.replay(
        acting.tenant_id, delivery_id, reason=asked.reason, hold=asked.hold, actor=acting.actor
    )
    return DeliveryOut.of(again)


@router.get("/attempts/{attempt_id}")
async def read_attempt(uses: Uses, acting: Reading, attempt_id: AttemptInPath) -> AttemptTold:
    """Read an attempt with the bodies that went out and came back."""
    told = await uses.deliveries.attempt(acting.tenant_id, attempt_id)
    return AttemptTold.told(told)
