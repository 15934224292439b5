"""What retention would delete."""

from datetime import date
from typing import Self

from pydantic import Field

from delivery.domain.ids import Prefix, format_id
from delivery.domain.retention import RetentionPlan
from delivery.schemas.base import ResponseModel


class TenantPruneOut(ResponseModel):
    """Content that one tenant keeps for a shorter time than the operator."""

    tenant_id: str
    content: str
    before: date = Field(description="Everything older is deleted.")


class RetentionPlanOut(ResponseModel):
    """What a retention run would delete; nothing was changed."""

    drop: list[str] = Field(description="Daily partitions that are dropped, by table name.")
    payloads: list[str] = Field(description="Daily partitions of events whose payloads are deleted.")
    tenants: list[TenantPruneOut]
    replays_before: date

    @classmethod
    def from_record(cls, plan: RetentionPlan) -> Self:
        """Show a plan."""
        return cls(
            drop=[partition.name for group in plan.drops for partition in group],
            payloads=[partition.name for partition in plan.payload_days],
            tenants=[
                TenantPruneOut(
                    tenant_id=format_id(Prefix.TENANT, prune.tenant_id),
                    content=prune.data,
                    before=prune.before,
                )
                for prune in plan.tenant_prunes
            ],
            replays_before=plan.replays_before,
        )
