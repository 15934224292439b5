"""Tenants. All of it needs the operator's key."""

from typing import TYPE_CHECKING, cast

from fastapi import APIRouter, Response

from delivery.api.http.auth import RequiresOperator, ServicesDep
from delivery.api.http.parameters import ListQueryDep, ReasonQuery, TenantInPath
from delivery.api.http.strict import StrictRoute
from delivery.schemas.tenants import TenantIn, TenantList, TenantOut, TenantPatch

if TYPE_CHECKING:
    from delivery.services.tenants import TenantChanges

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_tenant(
    services: ServicesDep, actor: RequiresOperator, body: TenantIn, response: Response
) -> TenantOut:
    """Create a tenant."""
    tenant = TenantOut.from_record(await services.tenants.create(body.name, actor=actor))
    response.headers["Location"] = f"/v1/tenants/{tenant.id}"
    return tenant


@router.get("")
async def list_tenants(
    services: ServicesDep, _actor: RequiresOperator, list_query: ListQueryDep
) -> TenantList:
    """List tenants, newest first."""
    page = await services.tenants.list_tenants(list_query.to_page_request("tenants"))
    return TenantList(
        items=[TenantOut.from_record(t) for t in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, "tenants"),
    )


@router.get("/{tenant_id}")
async def read_tenant(services: ServicesDep, _actor: RequiresOperator, tenant_id: TenantInPath) -> TenantOut:
    """Read a tenant."""
    return TenantOut.from_record(await services.tenants.read(tenant_id))


@router.patch("/{tenant_id}")
async def change_tenant(
    services: ServicesDep,
    actor: RequiresOperator,
    tenant_id: TenantInPath,
    body: TenantPatch,
    reason: ReasonQuery = None,
) -> TenantOut:
    """Change a tenant's name or its retention periods. Content older than a new period is deleted soon."""
    changes = cast("TenantChanges", body)
    return TenantOut.from_record(
        await services.tenants.change(tenant_id, changes, reason=reason, actor=actor)
    )
