"""Tenants: made, changed, found. Their keys are `delivery.keys`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import structlog

from delivery.domain.errors import NotFound
from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.domain.retention import apply_period_changes
from delivery.domain.tenant import Tenant
from delivery.domain.validation import check_reason, check_text, validating_field
from delivery.ledger.records import journal, tenants
from delivery.ledger.records.journal import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.pagination import Page, PageRequest
    from delivery.domain.retention import RetentionPeriods
    from delivery.ledger.db.session import Ledger

log = structlog.get_logger()

MAX_NAME_LENGTH = 200


class TenantChanges(TypedDict, total=False):
    """What is to become different; what is not named stays.

    `retention` has days by kind of content: None takes a term of its own away, and None as a whole takes all.
    """

    name: str
    retention: Mapping[str, int | None] | None


class TenantService:
    """What the operator does with tenants."""

    def __init__(
        self,
        ledger: Ledger,
        retention_periods: RetentionPeriods,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """`terms` are the operator's: no tenant may have more kept."""
        self._ledger = ledger
        self._retention_periods = retention_periods
        self._clock = clock

    async def create(self, name: str, *, actor: Actor) -> Tenant:
        """Make a tenant; raises Invalid for a name that cannot be."""
        tenant = Tenant(TenantId(new_id()), _validate_name(name), self._clock())
        async with self._ledger.transaction() as tx:
            await tenants.insert(tx, tenant)
            await journal.append(
                tx, [self._build_entry(tenant.id, "tenant.created", actor, name=tenant.name)]
            )
        log.info("tenant.created", tenant_id=format_id(Prefix.TENANT, tenant.id), actor=actor.name)
        return tenant

    async def read(self, tenant_id: TenantId) -> Tenant:
        """One tenant; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            tenant = await tenants.read(tx, tenant_id)
        if tenant is None:
            raise _tenant_not_found(tenant_id)
        return tenant

    async def change(
        self, tenant_id: TenantId, changes: TenantChanges, *, reason: str | None = None, actor: Actor
    ) -> Tenant:
        """Change what is named; raises NotFound, and Invalid for a name or a term that cannot be."""
        reason = check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            before = await tenants.read(tx, tenant_id, lock=True)
            if before is None:
                raise _tenant_not_found(tenant_id)
            after = self._apply_changes(before, changes)
            await tenants.write(tx, after)
            entries = []
            if after.name != before.name:
                entries.append(self._build_entry(tenant_id, "tenant.changed", actor, name=after.name))
            if after.retention != before.retention:
                days = {"retention": dict(after.retention), "before": dict(before.retention)}
                entries.append(self._build_entry(tenant_id, "tenant.retention_changed", actor, **days))
            await journal.append(tx, [replace(entry, reason=reason) for entry in entries])
        log.info("tenant.changed", tenant_id=format_id(Prefix.TENANT, tenant_id), actor=actor.name)
        return after

    def _apply_changes(self, tenant: Tenant, changes: TenantChanges) -> Tenant:
        name = _validate_name(changes["name"]) if "name" in changes else tenant.name
        if "retention" not in changes:
            return replace(tenant, name=name)
        return replace(
            tenant,
            name=name,
            retention=apply_period_changes(tenant.retention, changes["retention"], self._retention_periods),
        )

    async def list_tenants(
        self, page_request: PageRequest, *, name_contains: str | None = None
    ) -> Page[Tenant]:
        """Tenants, newest first; only those whose names hold these letters."""
        async with self._ledger.transaction() as tx:
            return await tenants.read_page(tx, page_request, name_contains=name_contains)

    def _build_entry(self, tenant_id: TenantId, action: str, actor: Actor, **details: Any) -> JournalEntry:
        return JournalEntry(
            tenant_id, action, actor.name, at=self._clock(), details=details, address=actor.address
        )


def _validate_name(text: str) -> str:
    with validating_field("name"):
        return check_text(text, min_length=1, max_length=MAX_NAME_LENGTH)


def _tenant_not_found(tenant_id: TenantId) -> NotFound:
    return NotFound("tenant", format_id(Prefix.TENANT, tenant_id))
