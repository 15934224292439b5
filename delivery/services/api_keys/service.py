"""API keys: made, listed, rotated, ended; and whose a key is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from delivery.domain.api_key import ApiKey
from delivery.domain.errors import Conflict, NotAuthenticated, NotFound
from delivery.domain.ids import KeyId, Prefix, TenantId, format_id, new_id
from delivery.domain.scopes import sort_scopes
from delivery.domain.validation import check_reason
from delivery.ledger.records import api_keys, journal, tenants
from delivery.ledger.records.journal import JournalEntry
from delivery.services.api_keys.brute_force import BruteForceGuard
from delivery.services.api_keys.cache import ApiKeyCache
from delivery.services.api_keys.rate_limit import RateLimiter
from delivery.services.api_keys.validation import (
    CreatedApiKey,
    compute_successor_expiry,
    validate_expiry,
    validate_name,
    validate_overlap,
    validate_requests_per_second,
    validate_scopes,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from delivery.domain.accounts import Actor
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.services.api_keys.rate_limit import RateLimitState
    from delivery.services.api_keys.validation import ApiKeyConfig, NewApiKey

log = structlog.get_logger()

KEY_PREFIX: Final = "wbk_"
_KEY_BYTES: Final = 32
_KEY_PATTERN: Final = re.compile(r"wbk_[A-Za-z0-9_-]{43}")
_HINT_LENGTH: Final = len(KEY_PREFIX) + 6


class ApiKeyService:
    """What the operator does with tenants' keys, and what a door asks about one."""

    def __init__(
        self,
        ledger: Ledger,
        config: ApiKeyConfig,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """No key is remembered at first."""
        self._ledger = ledger
        self._config = config
        self._clock = clock
        self._random_bytes = random_bytes
        self._operator_key_sha256 = (
            None if config.operator_key is None else _sha256(config.operator_key.encode())
        )
        self._cache = ApiKeyCache(ledger, clock=clock)
        self._brute_force_guard = BruteForceGuard()
        self._rate_limiter = RateLimiter(config.requests_per_second)

    async def create(self, tenant_id: TenantId, new: NewApiKey, *, actor: Actor) -> CreatedApiKey:
        """Make a key for a tenant. Raises NotFound and Invalid."""
        now = self._clock()
        key = ApiKey(
            id=KeyId(new_id()),
            tenant_id=tenant_id,
            name=validate_name(new.name),
            hint="",
            created_at=now,
            revoked_at=None,
            scopes=validate_scopes(new.scopes),
            expires_at=validate_expiry(new, now=now),
            requests_per_second=validate_requests_per_second(new.requests_per_second),
        )
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _require_tenant(tx, tenant_id)
            made = await self._insert(tx, key)
            await journal.append(
                tx, [_build_entry(made.key, "key.created", actor, **_build_audit_details(made.key))]
            )
        log.info("key.created", key_id=format_id(Prefix.KEY, key.id), actor=actor.name)
        return made

    async def list_keys(self, tenant_id: TenantId, page_request: PageRequest) -> Page[ApiKey]:
        """A tenant's keys, ended ones too, newest first; raises NotFound for an unknown tenant."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _require_tenant(tx, tenant_id)
            return await api_keys.read_page(tx, tenant_id, page_request)

    async def read(self, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
        """One key of a tenant; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await _read(tx, tenant_id, key_id)

    async def rotate(
        self,
        tenant_id: TenantId,
        key_id: KeyId,
        *,
        overlap: timedelta | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> CreatedApiKey:
        """Make a key that takes the place of this one, which goes on for the overlap and then expires.

        Raises NotFound, Invalid, and Conflict for a key that has ended or has been rotated already.
        """
        reason = check_reason(reason)
        overlap = validate_overlap(overlap, self._config)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            before = await _read(tx, tenant_id, key_id, lock=True)
            now = self._clock()
            _refuse_superseded(before, now=now)
            key = replace(
                before,
                id=KeyId(new_id()),
                created_at=now,
                expires_at=compute_successor_expiry(before, now=now),
                last_used_at=None,
            )
            made = await self._insert(tx, key)
            until = min(now + overlap, before.expires_at or now + overlap)
            key_sha256 = await api_keys.replace(tx, before, successor_id=key.id, expires_at=until)
            told = _build_audit_details(made.key) | {
                "key_id": format_id(Prefix.KEY, key_id),
                "replaced_by": format_id(Prefix.KEY, key.id),
                "until": until.isoformat(),
            }
            entry = _build_entry(before, "key.rotated", actor, **told)
            await journal.append(tx, [replace(entry, at=now, reason=reason)])
        self._cache.invalidate(key_sha256)
        log.info("key.rotated", key_id=format_id(Prefix.KEY, key_id), actor=actor.name)
        return replace(made, replaced=replace(before, expires_at=until, replaced_by=key.id))

    async def revoke(
        self, tenant_id: TenantId, key_id: KeyId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """End a key: here at once, in other processes within five seconds. Revoking it again is no error."""
        shown = format_id(Prefix.KEY, key_id)
        reason = check_reason(reason)
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            key_sha256 = await api_keys.revoke(tx, tenant_id, key_id, at=now)
            if key_sha256 is None:
                raise NotFound("key", shown)
            details = {"key_id": shown}
            entry = JournalEntry(
                tenant_id, "key.revoked", actor.name, now, reason, details=details, address=actor.address
            )
            await journal.append(tx, [entry])
        self._cache.invalidate(key_sha256)
        log.info("key.revoked", key_id=shown, actor=actor.name)

    async def authenticate(self, text: str, *, address: str | None = None) -> ApiKey | None:
        """The tenant's key that this text is; None: it is the operator's.

        Raises NotAuthenticated for an unknown, a revoked and an expired one alike, and TooManyTries, before
        anything is looked at, when too many wrong ones came from there. Keys are compared by their hashes
        alone, so how long it takes tells nothing of how much of a guess was right.
        """
        # Headers arrive as Latin-1; back to the bytes that were sent.
        key_sha256 = _sha256(text.encode("latin-1", errors="replace"))
        now = self._clock()
        known = self._cache.get(key_sha256, now=now)
        if known is not None:
            return known
        self._brute_force_guard.refuse_if_blocked(address, key_sha256, now=now)
        if self._operator_key_sha256 is not None and hmac.compare_digest(
            key_sha256, self._operator_key_sha256
        ):
            self._brute_force_guard.record_success(address, key_sha256)
            return None
        key = None if _KEY_PATTERN.fullmatch(text) is None else await self._cache.find(key_sha256)
        if key is None:
            self._brute_force_guard.record_failure(address, now=now)
            raise NotAuthenticated
        self._brute_force_guard.record_success(address, key_sha256)
        return key

    async def authenticate_message(self, text: str) -> ApiKey:
        """The tenant's key that a message carries; the operator's is none. Raises NotAuthenticated.

        Whoever publishes has shown the broker who it is: guesses are not counted.
        """
        if _KEY_PATTERN.fullmatch(text) is None:
            raise NotAuthenticated
        key_sha256 = _sha256(text.encode())
        key = self._cache.get(key_sha256, now=self._clock()) or await self._cache.find(key_sha256)
        if key is None:
            raise NotAuthenticated
        return key

    def count_request(self, key: ApiKey) -> RateLimitState | None:
        """Count a request of this key; None: it has no limit."""
        return self._rate_limiter.count_request(key, now=self._clock())

    async def wait_for_background_writes(self) -> None:
        """Wait for what is written beside requests."""
        await self._cache.wait_for_background_writes()

    async def _insert(self, tx: Transaction, key: ApiKey) -> CreatedApiKey:
        text = KEY_PREFIX + base64.urlsafe_b64encode(self._random_bytes(_KEY_BYTES)).decode().rstrip("=")
        key = replace(key, hint=text[:_HINT_LENGTH] + "…")
        await api_keys.insert(tx, key, key_sha256=_sha256(text.encode()))
        return CreatedApiKey(key, text)


async def _require_tenant(tx: Transaction, tenant_id: TenantId) -> None:
    if await tenants.read(tx, tenant_id) is None:
        raise NotFound("tenant", format_id(Prefix.TENANT, tenant_id))


async def _read(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, lock: bool = False) -> ApiKey:
    key = await api_keys.read(tx, tenant_id, key_id, lock=lock)
    if key is None:
        raise NotFound("key", format_id(Prefix.KEY, key_id))
    return key


def _refuse_superseded(key: ApiKey, *, now: datetime) -> None:
    shown = format_id(Prefix.KEY, key.id)
    if key.replaced_by is not None:
        successor = format_id(Prefix.KEY, key.replaced_by)
        raise Conflict(f"The key {shown} was rotated already: {successor} has taken its place.")
    if key.ended_at(now) is not None:
        raise Conflict(f"The key {shown} has ended. Make a new one.")


def _build_audit_details(key: ApiKey) -> dict[str, Any]:
    """What the audit tells of a new key."""
    return {
        "key_id": format_id(Prefix.KEY, key.id),
        "name": key.name,
        "hint": key.hint,
        "scopes": [str(scope) for scope in sort_scopes(key.scopes)],
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "requests_per_second": key.requests_per_second,
    }


def _build_entry(key: ApiKey, action: str, actor: Actor, **details: Any) -> JournalEntry:
    return JournalEntry(
        key.tenant_id, action, actor.name, at=key.created_at, details=details, address=actor.address
    )


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
