"""Deliveries and attempts: search, count, read, and replay one."""

from fastapi import APIRouter

from delivery.api.http.auth import (
    RequiresRead,
    RequiresReadAnyTenant,
    RequiresReplay,
    ServicesDep,
    require_tenant_for_costly_filters,
)
from delivery.api.http.delivery_filter import DeliveryFilterDep, OrderQuery
from delivery.api.http.parameters import AttemptInPath, DeliveryInPath, ListQueryDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.pagination import PageRequest
from delivery.schemas.deliveries import (
    AttemptDetailOut,
    AttemptList,
    AttemptOut,
    CountOut,
    DeliveryDetailOut,
    DeliveryList,
    DeliveryOut,
    DeliveryReplayIn,
)

router = APIRouter(prefix="/v1", tags=["deliveries"], route_class=StrictRoute)

MAX_LATEST_ATTEMPTS = 20


@router.get("/deliveries")
async def list_deliveries(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    list_query: ListQueryDep,
    selection: DeliveryFilterDep,
    order: OrderQuery = "newest",
) -> DeliveryList:
    """Search for deliveries. A page may contain fewer than `limit`, even none, and still have a `next`.

    The operator sees all tenants' deliveries unless the header `Waybill-Tenant` names one.
    """
    require_tenant_for_costly_filters(caller, selection)
    scope = ("deliveries", caller.tenant_id, selection, order)
    request = list_query.to_page_request(*scope, oldest_first=order == "oldest")
    page = await services.deliveries.list_deliveries(caller.tenant_id, selection, request)
    return DeliveryList(
        items=[DeliveryOut.from_record(d) for d in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.get("/deliveries/count")
async def count_deliveries(
    services: ServicesDep, caller: RequiresReadAnyTenant, selection: DeliveryFilterDep
) -> CountOut:
    """Count the matches of a search: exactly if that is cheap, otherwise as a marked estimate."""
    require_tenant_for_costly_filters(caller, selection)
    result = await services.deliveries.count_deliveries(caller.tenant_id, selection)
    return CountOut(count=result.count, exact=result.exact)


@router.get("/deliveries/{delivery_id}")
async def read_delivery(
    services: ServicesDep, caller: RequiresRead, delivery_id: DeliveryInPath
) -> DeliveryDetailOut:
    """Read a delivery with its newest attempts."""
    delivery = await services.deliveries.read(caller.tenant_id, delivery_id)
    latest = await services.deliveries.list_attempts(
        caller.tenant_id, delivery_id, PageRequest(MAX_LATEST_ATTEMPTS)
    )
    return DeliveryDetailOut.from_record(
        delivery, latest_attempts=[AttemptOut.from_record(a) for a in latest.items]
    )


@router.get("/deliveries/{delivery_id}/attempts")
async def list_attempts(
    services: ServicesDep, caller: RequiresRead, delivery_id: DeliveryInPath, list_query: ListQueryDep
) -> AttemptList:
    """List the attempts of a delivery, newest first, without bodies."""
    scope = ("attempts", caller.tenant_id, delivery_id)
    page = await services.deliveries.list_attempts(
        caller.tenant_id, delivery_id, list_query.to_page_request(*scope)
    )
    return AttemptList(
        items=[AttemptOut.from_record(a) for a in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.post("/deliveries/{delivery_id}/replay")
async def replay_delivery(
    services: ServicesDep,
    caller: RequiresReplay,
    delivery_id: DeliveryInPath,
    body: DeliveryReplayIn | None = None,
) -> DeliveryOut:
    """Send a delivery again, whether it is waiting or final: same bytes, same `webhook-id`.

    It is signed with the current secrets. If it waits for an automatic retry, it is sent once, not twice.
    """
    options = body or DeliveryReplayIn()
    replayed = await services.deliveries.replay(
        caller.tenant_id, delivery_id, reason=options.reason, hold=options.hold, actor=caller.actor
    )
    return DeliveryOut.from_record(replayed)


@router.get("/attempts/{attempt_id}")
async def read_attempt(
    services: ServicesDep, caller: RequiresRead, attempt_id: AttemptInPath
) -> AttemptDetailOut:
    """Read an attempt with its request and response bodies."""
    return AttemptDetailOut.from_details(await services.deliveries.read_attempt(caller.tenant_id, attempt_id))
