"""Entries of the audit log."""

from typing import Any, Self

from pydantic import Field

from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records.audit import AuditRecord
from delivery.schemas.base import (
    NextCursor,
    ResponseModel,
    TimestampOut,
    example_id,
)
from delivery.services.sentences import describe_entry


class AuditOut(ResponseModel):
    """One entry of the audit log."""

    id: str = Field(examples=[example_id(Prefix.AUDIT)])
    tenant_id: str | None = Field(
        description="The tenant concerned. Null: none, as for a console account.",
        examples=[example_id(Prefix.TENANT)],
    )
    at: TimestampOut
    what: str = Field(examples=["endpoint.paused"])
    sentence: str = Field(description="For humans.", examples=["The endpoint was paused by cli:ada."])
    actor: str = Field(
        description="A key, `operator`, `cli:…`, `Name <address>`, `portal:…`, or `waybill` itself.",
        examples=["operator"],
    )
    address: str | None = Field(description="The client's address. Null: unknown.", examples=["203.0.113.7"])
    reason: str | None
    endpoint_id: str | None
    delivery_id: str | None
    details: dict[str, Any] = Field(description="Facts whose names depend on `what`.")

    @classmethod
    def from_record(cls, audited: AuditRecord) -> Self:
        """Show an entry."""
        entry = audited.entry
        return cls(
            id=format_id(Prefix.AUDIT, audited.id),
            tenant_id=None if entry.owner is None else format_id(Prefix.TENANT, entry.owner),
            at=entry.at,
            what=entry.action,
            sentence=describe_entry(entry),
            actor=entry.actor,
            address=entry.address,
            reason=entry.reason,
            endpoint_id=None if entry.endpoint_id is None else format_id(Prefix.ENDPOINT, entry.endpoint_id),
            delivery_id=None if entry.delivery_id is None else format_id(Prefix.DELIVERY, entry.delivery_id),
            details=dict(entry.details),
        )


class AuditList(ResponseModel):
    """Entries of the audit log, newest first."""

    items: list[AuditOut]
    next: NextCursor
