"""The use cases of tenants. Their keys are in `delivery.services.api_keys`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from delivery.domain.ids import Prefix, TenantId, format_id, new_id, require_found
from delivery.domain.retention import apply_period_changes
from delivery.domain.tenant import Tenant
from delivery.domain.validation import check_name, check_reason
from delivery.ledger.records import journal, tenants
from delivery.ledger.records.journal import JournalEntry
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.pagination import Page, PageRequest
    from delivery.domain.retention import RetentionPeriods
    from delivery.ledger.db.session import Ledger

log = get_logger()


class TenantChanges(TypedDict, total=False):
    """The fields to change; fields that are missing stay as they are.

    `retention` has days by kind of data: None removes one of the tenant's periods, or all of them.
    """

    name: str
    retention: Mapping[str, int | None] | None


class TenantService:
    """Creates, reads and changes tenants, for the operator."""

    def __init__(
        self,
        ledger: Ledger,
        retention_periods: RetentionPeriods,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """`retention_periods` are the operator's, which bound those of tenants."""
        self._ledger = ledger
        self._retention_periods = retention_periods
        self._clock = clock

    async def create(self, name: str, *, actor: Actor) -> Tenant:
        """Create a tenant; raises Invalid for the name."""
        now = self._clock()
        tenant = Tenant(TenantId(new_id()), check_name(name), now)
        entry = JournalEntry.by_actor(
            tenant.id, "tenant.created", actor, at=now, details={"name": tenant.name}
        )
        async with self._ledger.transaction() as tx:
            await tenants.insert(tx, tenant)
            await journal.append(tx, [entry])
        log.info("tenant.created", tenant_id=format_id(Prefix.TENANT, tenant.id), actor=actor.name)
        return tenant

    async def read(self, tenant_id: TenantId) -> Tenant:
        """Read a tenant; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return require_found(await tenants.read(tx, tenant_id), Prefix.TENANT, tenant_id)

    async def list_tenants(
        self, page_request: PageRequest, *, name_contains: str | None = None
    ) -> Page[Tenant]:
        """List tenants, newest first; only those whose name contains this text."""
        async with self._ledger.transaction() as tx:
            return await tenants.read_page(tx, page_request, name_contains=name_contains)

    async def change(
        self, tenant_id: TenantId, changes: TenantChanges, *, reason: str | None = None, actor: Actor
    ) -> Tenant:
        """Change a tenant; raises NotFound, and Invalid for the name or a retention period."""
        reason = check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            row = await tenants.read(tx, tenant_id, lock=True)
            before = require_found(row, Prefix.TENANT, tenant_id)
            after, now = self._apply_changes(before, changes), self._clock()
            await tenants.write(tx, after)
            entries = [
                JournalEntry.by_actor(tenant_id, action, actor, at=now, reason=reason, details=details)
                for action, details in _describe_changes(before, after)
            ]
            await journal.append(tx, entries)
        log.info("tenant.changed", tenant_id=format_id(Prefix.TENANT, tenant_id), actor=actor.name)
        return after

    def _apply_changes(self, tenant: Tenant, changes: TenantChanges) -> Tenant:
        name = check_name(changes["name"]) if "name" in changes else tenant.name
        if "retention" not in changes:
            return replace(tenant, name=name)
        periods = apply_period_changes(tenant.retention, changes["retention"], self._retention_periods)
        return replace(tenant, name=name, retention=periods)


def _describe_changes(before: Tenant, after: Tenant) -> list[tuple[str, dict[str, Any]]]:
    """The journal's actions and details for what differs."""
    changes: list[tuple[str, dict[str, Any]]] = []
    if after.name != before.name:
        changes.append(("tenant.changed", {"name": after.name}))
    if after.retention != before.retention:
        days = {"retention": dict(after.retention), "before": dict(before.retention)}
        changes.append(("tenant.retention_changed", days))
    return changes
