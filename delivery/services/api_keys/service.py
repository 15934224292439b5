"""API keys: made, listed, rotated, ended; and whose a key is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from delivery.checks import checked_reason
from delivery.errors import Conflict, NotAuthenticated, NotFound
from delivery.keys.guesses import Guesses
from delivery.keys.known import KnownKeys
from delivery.keys.limits import Limits
from delivery.keys.terms import (
    MadeKey,
    checked_end,
    checked_name,
    checked_overlap,
    checked_pace,
    checked_scopes,
    succeeding_end,
)
from delivery.ledger import journal, keys, tenants
from delivery.ledger.journal import Entry
from delivery.model import ApiKey, KeyId, Prefix, TenantId, new_id, show_id
from delivery.scopes import in_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from delivery.keys.limits import Standing
    from delivery.keys.terms import KeyTerms, NewKey
    from delivery.ledger import Ledger, Transaction
    from delivery.model import Actor
    from delivery.paging import Cut, Page

log = structlog.get_logger()

KEY_PREFIX: Final = "wbk_"
_KEY_BYTES: Final = 32
_KEY: Final = re.compile(r"wbk_[A-Za-z0-9_-]{43}")
_HINT_LETTERS: Final = len(KEY_PREFIX) + 6


class Keys:
    """What the operator does with tenants' keys, and what a door asks about one."""

    def __init__(
        self,
        ledger: Ledger,
        terms: KeyTerms,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """No key is remembered at first."""
        self._ledger = ledger
        self._terms = terms
        self._clock = clock
        self._random_bytes = random_bytes
        self._operator = None if terms.operator_key is None else _sha256(terms.operator_key.encode())
        self._known = KnownKeys(ledger, clock=clock)
        self._guesses = Guesses()
        self._limits = Limits(terms.requests_per_second)

    async def create(self, tenant_id: TenantId, new: NewKey, *, actor: Actor) -> MadeKey:
        """Make a key for a tenant. Raises NotFound and Invalid."""
        now = self._clock()
        key = ApiKey(
            id=KeyId(new_id()),
            tenant_id=tenant_id,
            name=checked_name(new.name),
            hint="",
            created_at=now,
            revoked_at=None,
            scopes=checked_scopes(new.scopes),
            expires_at=checked_end(new, now=now),
            requests_per_second=checked_pace(new.requests_per_second),
        )
        async with self._ledger.transaction(of=tenant_id) as tx:
            await _check_tenant(tx, tenant_id)
            made = await self._insert(tx, key)
            await journal.append(tx, [_entry(made.kept, "key.created", actor, **_told(made.kept))])
        log.info("key.created", key_id=show_id(Prefix.KEY, key.id), actor=actor.name)
        return made

    async def page(self, tenant_id: TenantId, cut: Cut) -> Page[ApiKey]:
        """A tenant's keys, ended ones too, newest first; raises NotFound for an unknown tenant."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await _check_tenant(tx, tenant_id)
            return await keys.page(tx, tenant_id, cut)

    async def read(self, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
        """One key of a tenant; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await _read(tx, tenant_id, key_id)

    async def rotate(
        self,
        tenant_id: TenantId,
        key_id: KeyId,
        *,
        overlap: timedelta | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> MadeKey:
        """Make a key that takes the place of this one, which goes on for the overlap and then expires.

        Raises NotFound, Invalid, and Conflict for a key that has ended or has been rotated already.
        """
        reason = checked_reason(reason)
        overlap = checked_overlap(overlap, self._terms)
        async with self._ledger.transaction(of=tenant_id) as tx:
            before = await _read(tx, tenant_id, key_id, lock=True)
            now = self._clock()
            _refuse_unless_current(before, now=now)
            key = replace(
                before,
                id=KeyId(new_id()),
                created_at=now,
                expires_at=succeeding_end(before, now=now),
                last_used_at=None,
            )
            made = await self._insert(tx, key)
            until = min(now + overlap, before.expires_at or now + overlap)
            key_sha256 = await keys.replace(tx, before, by=key.id, until=until)
            told = _told(made.kept) | {
                "key_id": show_id(Prefix.KEY, key_id),
                "replaced_by": show_id(Prefix.KEY, key.id),
                "until": until.isoformat(),
            }
            entry = _entry(before, "key.rotated", actor, **told)
            await journal.append(tx, [replace(entry, at=now, reason=reason)])
        self._known.forget(key_sha256)
        log.info("key.rotated", key_id=show_id(Prefix.KEY, key_id), actor=actor.name)
        return replace(made, before=replace(before, expires_at=until, replaced_by=key.id))

    async def revoke(
        self, tenant_id: TenantId, key_id: KeyId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """End a key: here at once, in other processes within five seconds. Revoking it again is no error."""
        shown = show_id(Prefix.KEY, key_id)
        reason = checked_reason(reason)
        now = self._clock()
        async with self._ledger.transaction(of=tenant_id) as tx:
            key_sha256 = await keys.revoke(tx, tenant_id, key_id, at=now)
            if key_sha256 is None:
                raise NotFound("key", shown)
            details = {"key_id": shown}
            entry = Entry(
                tenant_id, "key.revoked", actor.name, now, reason, details=details, address=actor.address
            )
            await journal.append(tx, [entry])
        self._known.forget(key_sha256)
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
        known = self._known.get(key_sha256, now=now)
        if known is not None:
            return known
        self._guesses.look(address, key_sha256, now=now)
        if self._operator is not None and hmac.compare_digest(key_sha256, self._operator):
            self._guesses.right(address, key_sha256)
            return None
        key = None if _KEY.fullmatch(text) is None else await self._known.find(key_sha256)
        if key is None:
            self._guesses.wrong(address, now=now)
            raise NotAuthenticated
        self._guesses.right(address, key_sha256)
        return key

    async def find(self, text: str) -> ApiKey:
        """The tenant's key that a message carries; the operator's is none. Raises NotAuthenticated.

        Whoever publishes has shown the broker who it is: guesses are not counted.
        """
        if _KEY.fullmatch(text) is None:
            raise NotAuthenticated
        key_sha256 = _sha256(text.encode())
        key = self._known.get(key_sha256, now=self._clock()) or await self._known.find(key_sha256)
        if key is None:
            raise NotAuthenticated
        return key

    def spend(self, key: ApiKey) -> Standing | None:
        """Count a request of this key; None: it has no limit."""
        return self._limits.spend(key, now=self._clock())

    async def settle(self) -> None:
        """Wait for what is written beside requests."""
        await self._known.settle()

    async def _insert(self, tx: Transaction, key: ApiKey) -> MadeKey:
        text = KEY_PREFIX + base64.urlsafe_b64encode(self._random_bytes(_KEY_BYTES)).decode().rstrip("=")
        key = replace(key, hint=text[:_HINT_LETTERS] + "…")
        await keys.insert(tx, key, key_sha256=_sha256(text.encode()))
        return MadeKey(key, text)


async def _check_tenant(tx: Transaction, tenant_id: TenantId) -> None:
    if await tenants.read(tx, tenant_id) is None:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))


async def _read(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, lock: bool = False) -> ApiKey:
    key = await keys.read(tx, tenant_id, key_id, lock=lock)
    if key is None:
        raise NotFound("key", show_id(Prefix.KEY, key_id))
    return key


def _refuse_unless_current(key: ApiKey, *, now: datetime) -> None:
    shown = show_id(Prefix.KEY, key.id)
    if key.replaced_by is not None:
        successor = show_id(Prefix.KEY, key.replaced_by)
        raise Conflict(f"The key {shown} was rotated already: {successor} has taken its place.")
    if key.ended_at(now) is not None:
        raise Conflict(f"The key {shown} has ended. Make a new one.")


def _told(key: ApiKey) -> dict[str, Any]:
    """What the audit tells of a new key."""
    return {
        "key_id": show_id(Prefix.KEY, key.id),
        "name": key.name,
        "hint": key.hint,
        "scopes": [str(scope) for scope in in_order(key.scopes)],
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "requests_per_second": key.requests_per_second,
    }


def _entry(key: ApiKey, what: str, actor: Actor, **details: Any) -> Entry:
    return Entry(key.tenant_id, what, actor.name, at=key.created_at, details=details, address=actor.address)


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
