"""The audit log: who changed what, when, from where and why."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from delivery.api.http.auth import RequiresReadAnyTenant, ServicesDep
from delivery.api.http.delivery_filter import SinceQuery, UntilQuery
from delivery.api.http.parameters import ListQueryDep
from delivery.api.http.strict import StrictRoute
from delivery.ledger.records.audit import AuditFilter
from delivery.schemas.audit import AuditList, AuditOut
from delivery.services.audit import parse_audit_filter

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StrictRoute)


def _read_audit_filter(  # noqa: PLR0913, PLR0917  one for each query parameter
    actor: Annotated[
        str | None, Query(description="Only by this actor: `key_…`, `operator`, `cli:…`.")
    ] = None,
    what: Annotated[list[str], Query(description="Only these actions: `endpoint.*`. Repeatable.")] = [],  # noqa: B006  FastAPI copies it
    endpoint: Annotated[str | None, Query(description="Only about this endpoint: `ep_…`.")] = None,
    delivery: Annotated[str | None, Query(description="Only about this delivery: `dlv_…`.")] = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    engine: Annotated[bool, Query(description="Also the engine's own actions.")] = False,  # noqa: FBT002  a query parameter
) -> AuditFilter:
    parameters: dict[str, Any] = locals()
    return parse_audit_filter(parameters)


@router.get("")
async def list_audit(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    list_query: ListQueryDep,
    selection: Annotated[AuditFilter, Depends(_read_audit_filter)],
) -> AuditList:
    """List entries, newest first. A page may contain fewer than `limit`, even none, and still have a `next`.

    The operator sees all tenants unless the header `Waybill-Tenant` names one.
    """
    scope = ("audit", caller.tenant_id, selection)
    page = await services.audit.list_entries(caller.tenant_id, selection, list_query.to_page_request(*scope))
    return AuditList(
        items=[AuditOut.from_record(entry) for entry in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )
