"""Tenants. All of it needs the operator's key."""

from typing import Annotated, Self, cast

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.api.callers import AsOperator, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedPage,
    Given,
    Moment,
    Next,
    Reason,
    Shown,
    TenantInPath,
    example,
)
from delivery.model import Prefix, Tenant, show_id
from delivery.tenants import LONGEST_NAME, TenantChanges

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=StrictRoute)

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class TenantIn(Given):
    """A tenant to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Books"}]})

    name: Name


Days = Annotated[int | None, Field(ge=1, description="Days. Null: as long as the operator says.")]


@with_config(ConfigDict(extra="forbid", strict=True))
class RetentionIn(TypedDict, total=False):
    """For how many days a tenant's content is kept, where that is less than the operator's; else 422."""

    payload: Days
    attempts: Days
    deliveries: Days
    events: Days


@with_config(
    ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"retention": {"payload": 7, "attempts": 30}}]},
    )
)
class TenantPatch(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    name: Name
    retention: Annotated[
        RetentionIn | None,
        Field(description="Terms to set; those not named stay. Null: all as the operator says."),
    ]


class RetentionOut(Shown):
    """For how many days a tenant's content is kept. Null: as long as the operator says."""

    payload: int | None = None
    attempts: int | None = None
    deliveries: int | None = None
    events: int | None = None


class TenantOut(Shown):
    """A tenant."""

    id: str = Field(examples=[example(Prefix.TENANT)])
    name: str = Field(examples=["Acme Books"])
    created_at: Moment
    retention: RetentionOut

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """Show a tenant."""
        return cls(
            id=show_id(Prefix.TENANT, tenant.id),
            name=tenant.name,
            created_at=tenant.created_at,
            retention=RetentionOut(**tenant.retention),
        )


class TenantList(Shown):
    """Tenants, newest first."""

    items: list[TenantOut]
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


@router.patch("/{tenant_id}")
async def change_tenant(
    uses: Uses, actor: AsOperator, tenant_id: TenantInPath, given: TenantPatch, reason: Reason = None
) -> TenantOut:
    """Change a tenant's name, or for how long its content is kept: what is past a new term goes soon."""
    changes = cast("TenantChanges", given)
    return TenantOut.of(await uses.tenants.change(tenant_id, changes, reason=reason, actor=actor))
