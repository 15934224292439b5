"""Tenants' API keys: create, list, rotate, revoke. All of it needs the operator's key."""

from datetime import timedelta

from fastapi import APIRouter

from delivery.api.http.auth import RequiresOperator, ServicesDep
from delivery.api.http.parameters import KeyInPath, ListQueryDep, ReasonQuery, TenantInPath
from delivery.api.http.strict import StrictRoute
from delivery.schemas.api_keys import KeyIn, KeyList, KeyOut, KeyRotationIn, NewKeyOut

router = APIRouter(prefix="/v1/tenants/{tenant_id}/keys", tags=["tenants"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_key(
    services: ServicesDep, actor: RequiresOperator, tenant_id: TenantInPath, body: KeyIn
) -> NewKeyOut:
    """Create a key for a tenant. The response contains the key, which is never shown again."""
    return NewKeyOut.from_new_key(await services.api_keys.create(tenant_id, body.to_command(), actor=actor))


@router.get("")
async def list_keys(
    services: ServicesDep, _actor: RequiresOperator, tenant_id: TenantInPath, list_query: ListQueryDep
) -> KeyList:
    """List a tenant's keys, newest first, including revoked and expired ones."""
    scope = ("keys", tenant_id)
    page = await services.api_keys.list_keys(tenant_id, list_query.to_page_request(*scope))
    return KeyList(
        items=[KeyOut.from_record(key) for key in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.post("/{key_id}/rotate", status_code=201)
async def rotate_key(
    services: ServicesDep,
    actor: RequiresOperator,
    tenant_id: TenantInPath,
    key_id: KeyInPath,
    body: KeyRotationIn | None = None,
) -> NewKeyOut:
    """Create a key with the same name, scopes and lifetime. The old key stays valid for a while."""
    options = body or KeyRotationIn()
    hours = options.overlap_hours
    new_key = await services.api_keys.rotate(
        tenant_id,
        key_id,
        overlap=None if hours is None else timedelta(hours=hours),
        reason=options.reason,
        actor=actor,
    )
    return NewKeyOut.from_new_key(new_key)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(
    services: ServicesDep,
    actor: RequiresOperator,
    tenant_id: TenantInPath,
    key_id: KeyInPath,
    reason: ReasonQuery = None,
) -> None:
    """Revoke a key. All processes refuse it within five seconds."""
    await services.api_keys.revoke(tenant_id, key_id, reason=reason, actor=actor)
