"""The use cases of API keys. A key is shown once, when it is made; the ledger has its hash."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.api_key import ApiKey
from delivery.domain.errors import Conflict, NotAuthenticated
from delivery.domain.ids import KeyId, Prefix, TenantId, format_id, new_id, not_found, require_found
from delivery.domain.scopes import sort_scopes
from delivery.domain.tokens import API_KEY_PREFIX, generate_token, hash_token, is_well_formed_token
from delivery.domain.validation import check_name, check_overlap, check_reason
from delivery.ledger.records import api_keys, journal, tenants
from delivery.ledger.records.journal import JournalEntry
from delivery.log import get_logger
from delivery.services.api_keys.brute_force import BruteForceGuard
from delivery.services.api_keys.cache import ApiKeyCache
from delivery.services.api_keys.rate_limit import RateLimiter
from delivery.services.api_keys.validation import (
    CreatedApiKey,
    compute_successor_expiry,
    validate_expiry,
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

log = get_logger()

_HINT_LENGTH: Final = len(API_KEY_PREFIX) + 6


class ApiKeyService:
    """Creates, rotates and revokes tenants' keys, and authenticates requests by them."""

    def __init__(
        self,
        ledger: Ledger,
        config: ApiKeyConfig,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._clock = clock
        self._random_bytes = random_bytes
        operator_key = config.operator_key
        self._operator_key_sha256 = None if operator_key is None else hash_token(operator_key)
        self._cache = ApiKeyCache(ledger, clock=clock)
        self._brute_force_guard = BruteForceGuard()
        self._rate_limiter = RateLimiter(config.requests_per_second)

    async def create(self, tenant_id: TenantId, new: NewApiKey, *, actor: Actor) -> CreatedApiKey:
        """Create a key for a tenant. Raises NotFound and Invalid."""
        now = self._clock()
        key = ApiKey(
            id=KeyId(new_id()),
            tenant_id=tenant_id,
            name=check_name(new.name),
            hint="",
            created_at=now,
            revoked_at=None,
            scopes=validate_scopes(new.scopes),
            expires_at=validate_expiry(new, now=now),
            requests_per_second=validate_requests_per_second(new.requests_per_second),
        )
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _require_tenant(tx, tenant_id)
            created = await self._insert(tx, key)
            entry = JournalEntry.by_actor(
                tenant_id, "key.created", actor, at=now, details=_build_audit_details(created.key)
            )
            await journal.append(tx, [entry])
        log.info("key.created", key_id=format_id(Prefix.KEY, key.id), actor=actor.name)
        return created

    async def list_keys(self, tenant_id: TenantId, page_request: PageRequest) -> Page[ApiKey]:
        """List a tenant's keys, ended ones too, newest first; raises NotFound for an unknown tenant."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _require_tenant(tx, tenant_id)
            return await api_keys.read_page(tx, tenant_id, page_request)

    async def read(self, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
        """Read a key; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return require_found(await api_keys.read(tx, tenant_id, key_id), Prefix.KEY, key_id)

    async def rotate(
        self,
        tenant_id: TenantId,
        key_id: KeyId,
        *,
        overlap: timedelta | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> CreatedApiKey:
        """Create a successor of a key, which stays valid for the overlap and then expires.

        Raises NotFound, Invalid, and Conflict for a key that has ended or was rotated already.
        """
        reason = check_reason(reason)
        overlap = check_overlap(overlap, default=self._config.overlap)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            before = require_found(await api_keys.read(tx, tenant_id, key_id, lock=True), Prefix.KEY, key_id)
            now = self._clock()
            _refuse_superseded(before, now=now)
            successor = replace(
                before,
                id=KeyId(new_id()),
                created_at=now,
                expires_at=compute_successor_expiry(before, now=now),
                last_used_at=None,
            )
            created = await self._insert(tx, successor)
            until = min(now + overlap, before.expires_at or now + overlap)
            key_sha256 = await api_keys.replace(tx, before, successor_id=successor.id, expires_at=until)
            details = _build_audit_details(created.key) | {
                "key_id": format_id(Prefix.KEY, key_id),
                "replaced_by": format_id(Prefix.KEY, successor.id),
                "until": until.isoformat(),
            }
            entry = JournalEntry.by_actor(
                tenant_id, "key.rotated", actor, at=now, reason=reason, details=details
            )
            await journal.append(tx, [entry])
        self._cache.invalidate(key_sha256)
        log.info("key.rotated", key_id=format_id(Prefix.KEY, key_id), actor=actor.name)
        return replace(created, replaced=replace(before, expires_at=until, replaced_by=successor.id))

    async def revoke(
        self, tenant_id: TenantId, key_id: KeyId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """Revoke a key: here at once, in other processes within five seconds. Revoking again is no error."""
        public_id = format_id(Prefix.KEY, key_id)
        reason = check_reason(reason)
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            key_sha256 = await api_keys.revoke(tx, tenant_id, key_id, at=now)
            if key_sha256 is None:
                raise not_found(Prefix.KEY, key_id)
            entry = JournalEntry.by_actor(
                tenant_id, "key.revoked", actor, at=now, reason=reason, details={"key_id": public_id}
            )
            await journal.append(tx, [entry])
        self._cache.invalidate(key_sha256)
        log.info("key.revoked", key_id=public_id, actor=actor.name)

    async def authenticate(self, text: str, *, address: str | None = None) -> ApiKey | None:
        """Find the tenant's key with this text; None: it is the operator's key.

        Raises NotAuthenticated for unknown, revoked and expired keys alike, and TooManyTries, before any
        lookup, after too many wrong keys from this network. Only hashes are compared, so the time an answer
        takes tells nothing about how much of a guess was right.
        """
        # Headers arrive decoded as Latin-1; hash the bytes that were sent.
        key_sha256 = hash_token(text.encode("latin-1", errors="replace"))
        now = self._clock()
        cached = self._cache.get(key_sha256, now=now)
        if cached is not None:
            return cached
        self._brute_force_guard.refuse_if_blocked(address, key_sha256, now=now)
        operator_key_sha256 = self._operator_key_sha256
        if operator_key_sha256 is not None and hmac.compare_digest(key_sha256, operator_key_sha256):
            self._brute_force_guard.record_success(address, key_sha256)
            return None
        well_formed = is_well_formed_token(text, API_KEY_PREFIX)
        key = await self._cache.find(key_sha256) if well_formed else None
        if key is None:
            self._brute_force_guard.record_failure(address, now=now)
            raise NotAuthenticated
        self._brute_force_guard.record_success(address, key_sha256)
        return key

    async def authenticate_message(self, text: str) -> ApiKey:
        """Find the tenant's key in a broker message; the operator's is not accepted. Raises NotAuthenticated.

        Wrong keys are not counted: the broker has authenticated the publisher.
        """
        if not is_well_formed_token(text, API_KEY_PREFIX):
            raise NotAuthenticated
        key_sha256 = hash_token(text)
        key = self._cache.get(key_sha256, now=self._clock()) or await self._cache.find(key_sha256)
        if key is None:
            raise NotAuthenticated
        return key

    def count_request(self, key: ApiKey) -> RateLimitState | None:
        """Count a request against the key's rate limit; None: the key has no limit."""
        return self._rate_limiter.count_request(key, now=self._clock())

    async def wait_for_background_writes(self) -> None:
        """Wait until the writes beside requests are done."""
        await self._cache.wait_for_background_writes()

    async def _insert(self, tx: Transaction, key: ApiKey) -> CreatedApiKey:
        text = generate_token(API_KEY_PREFIX, self._random_bytes)
        key = replace(key, hint=text[:_HINT_LENGTH] + "…")
        await api_keys.insert(tx, key, key_sha256=hash_token(text))
        return CreatedApiKey(key, text)


async def _require_tenant(tx: Transaction, tenant_id: TenantId) -> None:
    require_found(await tenants.read(tx, tenant_id), Prefix.TENANT, tenant_id)


def _refuse_superseded(key: ApiKey, *, now: datetime) -> None:
    public_id = format_id(Prefix.KEY, key.id)
    if key.replaced_by is not None:
        successor = format_id(Prefix.KEY, key.replaced_by)
        raise Conflict(f"The key {public_id} was rotated already: {successor} has taken its place.")
    if key.ended_at(now) is not None:
        raise Conflict(f"The key {public_id} has ended. Make a new one.")


def _build_audit_details(key: ApiKey) -> dict[str, Any]:
    """The journal's details of a new key."""
    return {
        "key_id": format_id(Prefix.KEY, key.id),
        "name": key.name,
        "hint": key.hint,
        "scopes": [str(scope) for scope in sort_scopes(key.scopes)],
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "requests_per_second": key.requests_per_second,
    }
