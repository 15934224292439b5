"""Tenants and their keys. All of it needs the operator's key."""

from typing import Annotated, Self

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from delivery.api.callers import AsOperator, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedPage,
    Given,
    KeyInPath,
    Moment,
    Next,
    Reason,
    Shown,
    TenantInPath,
    example,
)
from delivery.model import ApiKey, Prefix, Tenant, show_id
from delivery.tenants import LONGEST_NAME

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=StrictRoute)

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class TenantIn(Given):
    """A tenant to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Books"}]})

    name: Name


class TenantOut(Shown):
    """A tenant."""

    id: str = Field(examples=[example(Prefix.TENANT)])
    name: str = Field(examples=["Acme Books"])
    created_at: Moment

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """Show a tenant."""
        return cls(id=show_id(Prefix.TENANT, tenant.id), name=tenant.name, created_at=tenant.created_at)


class TenantList(Shown):
    """Tenants, newest first."""

    items: list[TenantOut]
    next: Next


class KeyIn(Given):
    """A key to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "order service"}]})

    name: Name


class KeyOut(Shown):
    """A key, without the key itself."""

    id: str = Field(examples=[example(Prefix.KEY)])
    name: str = Field(examples=["order service"])
    hint: str = Field(description="How the key begins.", examples=["wbk_Zk3f9Q…"])
    created_at: Moment
    revoked_at: Moment | None

    @classmethod
    def of(cls, key: ApiKey, /, **more: str) -> Self:
        """Show a key."""
        return cls(
            id=show_id(Prefix.KEY, key.id),
            name=key.name,
            hint=key.hint,
            created_at=key.created_at,
            revoked_at=key.revoked_at,
            **more,
        )


class NewKeyOut(KeyOut):
    """A key that was just made. Keep `key`: it is told this once, and only its hash is stored."""

    key: str = Field(examples=["wbk_Zk3f9QmX0c1V7r2tYb8uHn4sLp6wEa5dKj3gRx9oTfI"])


class KeyList(Shown):
    """Keys, newest first, revoked ones too."""

    items: list[KeyOut]
    next: Next


@router.post("", status_code=201)
async def create_tenant(uses: Uses, actor: AsOperator, given: TenantIn, response: Response) -> TenantOut:
    """Make a tenant."""
    made = TenantOut.of(await uses.tenants.create(given.name, actor=actor))
    response.headers["Location"] = f"/v1/tenants/{made.id}"
    return made


@router.get("")
async def list_tenants(uses: Uses, _actor: AsOperator, asked: AskedPage) -> TenantList:
    """List tenants, newest first."""
    page = await uses.tenants.page(asked.cut("tenants"))
    return TenantList(items=[TenantOut.of(t) for t in page.items], next=asked.next(page.last, "tenants"))


@router.get("/{tenant_id}")
async def read_tenant(uses: Uses, _actor: AsOperator, tenant_id: TenantInPath) -> TenantOut:
    """Read a tenant."""
    return TenantOut.of(await uses.tenants.read(tenant_id))


@router.post("/{tenant_id}/keys", status_code=201)
async def create_key(uses: Uses, actor: AsOperator, tenant_id: TenantInPath, given: KeyIn) -> NewKeyOut:
    """Make a key for a tenant. The key is told in this answer and never again."""
    key, text = await uses.tenants.create_key(tenant_id, given.name, actor=actor)
    return NewKeyOut.of(key, key=text)


@router.get("/{tenant_id}/keys")
async def list_keys(uses: Uses, _actor: AsOperator, tenant_id: TenantInPath, asked: AskedPage) -> KeyList:
    """List a tenant's keys, newest first, revoked ones too."""
    scope = ("keys", tenant_id)
    page = await uses.tenants.keys(tenant_id, asked.cut(*scope))
    return KeyList(items=[KeyOut.of(key) for key in page.items], next=asked.next(page.last, *scope))


@router.delete("/{tenant_id}/keys/{key_id}", status_code=204)
async def revoke_key(
    uses: Uses, actor: AsOperator, tenant_id: TenantInPath, key_id: KeyInPath, reason: Reason = None
) -> None:
    """Revoke a key. Every process refuses it within five seconds."""
    await uses.tenants.revoke_key(tenant_id, key_id, reason=reason, actor=actor)
