"""Tenants: made, changed, found. Their keys are `delivery.keys`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import structlog

from delivery.checks import check_text, checked_reason, field
from delivery.errors import NotFound
from delivery.ledger import journal, tenants
from delivery.ledger.journal import Entry
from delivery.model import Prefix, Tenant, TenantId, new_id, show_id
from delivery.retention import changed_own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.ledger import Ledger
    from delivery.model import Actor
    from delivery.paging import Cut, Page
    from delivery.retention import Terms

log = structlog.get_logger()

LONGEST_NAME = 200


class TenantChanges(TypedDict, total=False):
    """What is to become different; what is not named stays.

    `retention` has days by kind of content: None takes a term of its own away, and None as a whole takes all.
    """

    name: str
    retention: Mapping[str, int | None] | None


class Tenants:
    """What the operator does with tenants."""

    def __init__(
        self,
        ledger: Ledger,
        terms: Terms,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """`terms` are the operator's: no tenant may have more kept."""
        self._ledger = ledger
        self._terms = terms
        self._clock = clock

    async def create(self, name: str, *, actor: Actor) -> Tenant:
        """Make a tenant; raises Invalid for a name that cannot be."""
        tenant = Tenant(TenantId(new_id()), _name(name), self._clock())
        async with self._ledger.transaction() as tx:
            await tenants.insert(tx, tenant)
            await journal.append(tx, [self._entry(tenant.id, "tenant.created", actor, name=tenant.name)])
        log.info("tenant.created", tenant_id=show_id(Prefix.TENANT, tenant.id), actor=actor.name)
        return tenant

    async def read(self, tenant_id: TenantId) -> Tenant:
        """One tenant; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            tenant = await tenants.read(tx, tenant_id)
        if tenant is None:
            raise _no_tenant(tenant_id)
        return tenant

    async def change(
        self, tenant_id: TenantId, changes: TenantChanges, *, reason: str | None = None, actor: Actor
    ) -> Tenant:
        """Change what is named; raises NotFound, and Invalid for a name or a term that cannot be."""
        reason = checked_reason(reason)
        async with self._ledger.transaction(of=tenant_id) as tx:
            before = await tenants.read(tx, tenant_id, lock=True)
            if before is None:
                raise _no_tenant(tenant_id)
            after = self._changed(before, changes)
            await tenants.write(tx, after)
            entries = []
            if after.name != before.name:
                entries.append(self._entry(tenant_id, "tenant.changed", actor, name=after.name))
            if after.retention != before.retention:
                days = {"retention": dict(after.retention), "before": dict(before.retention)}
                entries.append(self._entry(tenant_id, "tenant.retention_changed", actor, **days))
            await journal.append(tx, [replace(entry, reason=reason) for entry in entries])
        log.info("tenant.changed", tenant_id=show_id(Prefix.TENANT, tenant_id), actor=actor.name)
        return after

    def _changed(self, tenant: Tenant, changes: TenantChanges) -> Tenant:
        name = _name(changes["name"]) if "name" in changes else tenant.name
        if "retention" not in changes:
            return replace(tenant, name=name)
        return replace(
            tenant, name=name, retention=changed_own(tenant.retention, changes["retention"], self._terms)
        )

    async def page(self, cut: Cut, *, named: str | None = None) -> Page[Tenant]:
        """Tenants, newest first; only those whose names hold these letters."""
        async with self._ledger.transaction() as tx:
            return await tenants.page(tx, cut, named=named)

    def _entry(self, tenant_id: TenantId, what: str, actor: Actor, **details: Any) -> Entry:
        return Entry(tenant_id, what, actor.name, at=self._clock(), details=details, address=actor.address)


def _name(text: str) -> str:
    with field("name"):
        return check_text(text, least=1, most=LONGEST_NAME)


def _no_tenant(tenant_id: TenantId) -> NotFound:
    return NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
