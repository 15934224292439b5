"""Tenants. All of it needs the operator's key."""

from typing import Annotated, Self, cast

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.api.http.auth import RequiresOperator, ServicesDep
from delivery.api.http.parameters import ListQueryDep, ReasonQuery, TenantInPath
from delivery.api.http.strict import StrictRoute
from delivery.domain.ids import Prefix, format_id
from delivery.domain.tenant import Tenant
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampOut, example_id
from delivery.services.tenants import MAX_NAME_LENGTH, TenantChanges

router = APIRouter(prefix="/v1/tenants", tags=["tenants"], route_class=StrictRoute)

TenantNameField = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]


class TenantIn(RequestModel):
    """A tenant to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Books"}]})

    name: TenantNameField


RetentionDaysField = Annotated[
    int | None, Field(ge=1, description="Days. Null: as long as the operator says.")
]


@with_config(ConfigDict(extra="forbid", strict=True))
class RetentionIn(TypedDict, total=False):
    """For how many days a tenant's content is kept, where that is less than the operator's; else 422."""

    payload: RetentionDaysField
    attempts: RetentionDaysField
    deliveries: RetentionDaysField
    events: RetentionDaysField


@with_config(
    ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"retention": {"payload": 7, "attempts": 30}}]},
    )
)
class TenantPatch(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    name: TenantNameField
    retention: Annotated[
        RetentionIn | None,
        Field(description="Terms to set; those not named stay. Null: all as the operator says."),
    ]


class RetentionOut(ResponseModel):
    """For how many days a tenant's content is kept. Null: as long as the operator says."""

    payload: int | None = None
    attempts: int | None = None
    deliveries: int | None = None
    events: int | None = None


class TenantOut(ResponseModel):
    """A tenant."""

    id: str = Field(examples=[example_id(Prefix.TENANT)])
    name: str = Field(examples=["Acme Books"])
    created_at: TimestampOut
    retention: RetentionOut

    @classmethod
    def from_record(cls, tenant: Tenant) -> Self:
        """Show a tenant."""
        return cls(
            id=format_id(Prefix.TENANT, tenant.id),
            name=tenant.name,
            created_at=tenant.created_at,
            retention=RetentionOut(**tenant.retention),
        )


class TenantList(ResponseModel):
    """Tenants, newest first."""

    items: list[TenantOut]
    next: NextCursor


@router.post("", status_code=201)
async def create_tenant(
    services: ServicesDep, actor: RequiresOperator, body: TenantIn, response: Response
) -> TenantOut:
    """Make a tenant."""
    made = TenantOut.from_record(await services.tenants.create(body.name, actor=actor))
    response.headers["Location"] = f"/v1/tenants/{made.id}"
    return made


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
    """Change a tenant's name, or for how long its content is kept: what is past a new term goes soon."""
    changes = cast("TenantChanges", body)
    return TenantOut.from_record(
        await services.tenants.change(tenant_id, changes, reason=reason, actor=actor)
    )
