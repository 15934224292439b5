"""Tenants and their retention periods."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.domain.ids import Prefix, format_id
from delivery.domain.tenant import Tenant
from delivery.domain.validation import MAX_NAME_LENGTH
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampOut, example_id

TenantNameField = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]


class TenantIn(RequestModel):
    """A tenant to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Books"}]})

    name: TenantNameField


RetentionDaysField = Annotated[
    int | None, Field(ge=1, description="Days. Null: the operator's retention period.")
]


@with_config(ConfigDict(extra="forbid", strict=True))
class RetentionIn(TypedDict, total=False):
    """A tenant's retention periods in days. Longer ones than the operator's are refused (422)."""

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
    """The fields to change; others stay as they are."""

    name: TenantNameField
    retention: Annotated[
        RetentionIn | None,
        Field(description="Periods to set; others stay. Null: the operator's periods for all."),
    ]


class RetentionOut(ResponseModel):
    """A tenant's retention periods in days. Null: the operator's period."""

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
