"""Tenants and their API keys: made, listed, ended; and who a key belongs to."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import structlog

from delivery.checks import check_text, checked_reason, field
from delivery.errors import NotAuthenticated, NotFound
from delivery.ledger import journal, keys, tenants
from delivery.ledger.journal import Entry
from delivery.model import ApiKey, KeyId, Prefix, Tenant, TenantId, new_id, show_id
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
KEY_PREFIX = "wbk_"
_KEY_BYTES = 32
_KEY = re.compile(r"wbk_[A-Za-z0-9_-]{43}")
_HINT_LETTERS = len(KEY_PREFIX) + 6


class TenantChanges(TypedDict, total=False):
    """What is to become different; what is not named stays.

    `retention` has days by kind of content: None takes a term of its own away, and None as a whole takes all.
    """

    name: str
    retention: Mapping[str, int | None] | None


class Tenants:
    """What the operator does with tenants, and what a door asks about a key."""

    def __init__(
        self,
        ledger: Ledger,
        terms: Terms,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """No key is remembered at first. `terms` are the operator's: no tenant may have more kept."""
        self._ledger = ledger
        self._terms = terms
        self._clock = clock
        self._random_bytes = random_bytes
        self._known = _KnownKeys()

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
        async with self._ledger.transaction() as tx:
            tenant = await tenants.read(tx, tenant_id)
        if tenant is None:
            raise _no_tenant(tenant_id)
        return tenant

    async def change(
        self, tenant_id: TenantId, changes: TenantChanges, *, reason: str | None = None, actor: Actor
    ) -> Tenant:
        """Change what is named; raises NotFound, and Invalid for a name or a term that cannot be."""
        reason = checked_reason(reason)
        async with self._ledger.transaction() as tx:
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

    async def create_key(self, tenant_id: TenantId, name: str, *, actor: Actor) -> tuple[ApiKey, str]:
        """Make a key for a tenant. The key itself is told here, and never again."""
        text = KEY_PREFIX + base64.urlsafe_b64encode(self._random_bytes(_KEY_BYTES)).decode().rstrip("=")
        key = ApiKey(
            id=KeyId(new_id()),
            tenant_id=tenant_id,
            name=_name(name),
            hint=text[:_HINT_LETTERS] + "…",
            created_at=self._clock(),
            revoked_at=None,
        )
        async with self._ledger.transaction() as tx:
            if await tenants.read(tx, tenant_id) is None:
                raise _no_tenant(tenant_id)
            await keys.insert(tx, key, key_sha256=_sha256(text))
            shown = show_id(Prefix.KEY, key.id)
            entry = self._entry(tenant_id, "key.created", actor, key_id=shown, name=key.name, hint=key.hint)
            await journal.append(tx, [entry])
        log.info("key.created", key_id=shown, actor=actor.name)
        return key, text

    async def keys(self, tenant_id: TenantId, cut: Cut) -> Page[ApiKey]:
        """A tenant's keys, revoked ones too, newest first; raises NotFound for an unknown tenant."""
        async with self._ledger.transaction() as tx:
            if await tenants.read(tx, tenant_id) is None:
                raise _no_tenant(tenant_id)
            return await keys.page(tx, tenant_id, cut)

    async def revoke_key(
        self, tenant_id: TenantId, key_id: KeyId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """End a key: here at once, in other processes within five seconds. Revoking it again is no error."""
        shown = show_id(Prefix.KEY, key_id)
        reason = checked_reason(reason)
        async with self._ledger.transaction() as tx:
            key_sha256 = await keys.revoke(tx, tenant_id, key_id, at=self._clock())
            if key_sha256 is None:
                raise NotFound("key", shown)
            entry = self._entry(tenant_id, "key.revoked", actor, key_id=shown)
            await journal.append(tx, [replace(entry, reason=reason)])
        self._known.forget(key_sha256)
        log.info("key.revoked", key_id=shown, actor=actor.name)

    async def authenticate(self, text: str) -> ApiKey:
        """The key that this text is; raises NotAuthenticated for an unknown or a revoked one."""
        if _KEY.fullmatch(text) is None:
            raise NotAuthenticated
        key_sha256 = _sha256(text)
        now = self._clock()
        key = self._known.get(key_sha256, now=now)
        if key is None:
            async with self._ledger.transaction() as tx:
                key = await keys.find(tx, key_sha256)
            if key is None:
                raise NotAuthenticated
            self._known.keep(key_sha256, key, now=now)
        return key

    def _entry(self, tenant_id: TenantId, what: str, actor: Actor, **details: Any) -> Entry:
        return Entry(tenant_id, what, actor.name, at=self._clock(), details=details, address=actor.address)


class _KnownKeys:
    """Keys that were looked up a moment ago. Only good ones are kept: guesses must not fill memory."""

    MOST = 10_000
    AGE = timedelta(seconds=5)

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[ApiKey, datetime]] = {}

    def get(self, key_sha256: bytes, *, now: datetime) -> ApiKey | None:
        kept = self._kept.get(key_sha256)
        return kept[0] if kept is not None and kept[1] <= now < kept[1] + self.AGE else None

    def keep(self, key_sha256: bytes, key: ApiKey, *, now: datetime) -> None:
        if len(self._kept) >= self.MOST:
            self._kept.clear()
        self._kept[key_sha256] = (key, now)

    def forget(self, key_sha256: bytes) -> None:
        self._kept.pop(key_sha256, None)


def _name(text: str) -> str:
    with field("name"):
        return check_text(text, least=1, most=LONGEST_NAME)


def _no_tenant(tenant_id: TenantId) -> NotFound:
    return NotFound("tenant", show_id(Prefix.TENANT, tenant_id))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
