"""The audit: who changed what, when, from where and why."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from delivery.api.http.auth import RequiresReadAnyTenant, ServicesDep
from delivery.api.http.parameters import ListQueryDep, SinceQuery, UntilQuery
from delivery.api.http.strict import StrictRoute
from delivery.domain.event_patterns import check_pattern
from delivery.domain.ids import DeliveryId, EndpointId, Prefix
from delivery.domain.validation import check_text, validating_field
from delivery.ledger.records.audit import AuditFilter
from delivery.schemas.audit import AuditList, AuditOut
from delivery.schemas.base import (
    check_time_range,
    parse_query_id,
)

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)

MAX_PATTERNS = 20
MAX_ACTOR_LENGTH = 400


def _read_audit_selection(  # noqa: PLR0913, PLR0917  one for each query parameter
    actor: Annotated[str | None, Query(description="Only by this one: `key_…`, `operator`, `cli:…`.")] = None,
    what: Annotated[list[str], Query(description="Only what is like this: `endpoint.*`. Repeatable.")] = [],  # noqa: B006  FastAPI copies it
    endpoint: Annotated[str | None, Query(description="Only of this endpoint: `ep_…`.")] = None,
    delivery: Annotated[str | None, Query(description="Only of this delivery: `dlv_…`.")] = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    engine: Annotated[bool, Query(description="Also what the engine did by itself.")] = False,  # noqa: FBT002  a query parameter
) -> AuditFilter:
    check_time_range(since, until)
    with validating_field("what"):
        if len(what) > MAX_PATTERNS:
            raise ValueError(f"may be given {MAX_PATTERNS} times, not {len(what)}")
        patterns = tuple(check_pattern(pattern) for pattern in what)
    with validating_field("actor"):
        named = None if actor is None else check_text(actor, min_length=1, max_length=MAX_ACTOR_LENGTH)
    endpoint_id = parse_query_id(Prefix.ENDPOINT, "endpoint", endpoint)
    delivery_id = parse_query_id(Prefix.DELIVERY, "delivery", delivery)
    return AuditFilter(
        actor=named,
        actions=patterns,
        endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
        delivery_id=None if delivery_id is None else DeliveryId(delivery_id),
        since=since,
        until=until,
        include_engine=engine,
    )


@router.get("")
async def list_audit(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    list_query: ListQueryDep,
    selection: Annotated[AuditFilter, Depends(_read_audit_selection)],
) -> AuditList:
    """List who did what, newest first. A page may hold fewer than `limit`, even none, and have a `next`.

    The operator sees all tenants unless the header `Waybill-Tenant` names one.
    """
    scope = ("audit", caller.tenant_id, selection)
    page = await services.audit.list_entries(caller.tenant_id, selection, list_query.to_page_request(*scope))
    return AuditList(
        items=[AuditOut.from_record(one) for one in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )
