"""Tenants' keys: made, listed, rotated, ended. All of it needs the operator's key."""

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
    """Make a key for a tenant. The key is told in this answer and never again."""
    return NewKeyOut.from_new_key(await services.api_keys.create(tenant_id, body.to_command(), actor=actor))


@router.get("")
async def list_keys(
    services: ServicesDep, _actor: RequiresOperator, tenant_id: TenantInPath, list_query: ListQueryDep
) -> KeyList:
    """List a tenant's keys, newest first, revoked and expired ones too."""
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
    """Make a key with the same name, scopes and lifetime. The old one goes on for a while, then expires."""
    asked = body or KeyRotationIn()
    hours = asked.overlap_hours
    made = await services.api_keys.rotate(
        tenant_id,
        key_id,
        overlap=None if hours is None else timedelta(hours=hours),
        reason=asked.reason,
        actor=actor,
    )
    return NewKeyOut.from_new_key(made)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(
    services: ServicesDep,
    actor: RequiresOperator,
    tenant_id: TenantInPath,
    key_id: KeyInPath,
    reason: ReasonQuery = None,
) -> None:
    """Revoke a key. Every process refuses it within five seconds."""
    await services.api_keys.revoke(tenant_id, key_id, reason=reason, actor=actor)
