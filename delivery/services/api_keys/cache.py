"""Keys that were looked up a moment ago, and those that are being looked up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records import api_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.domain.api_key import ApiKey
    from delivery.ledger.db.session import Ledger

log = structlog.get_logger()

# After a key was revoked, another process may take it for so long.
MAX_AGE: Final = timedelta(seconds=5)
MAX_CACHED_KEYS: Final = 10_000
# `last_used_at` is written no more often than this for a key, whatever the number of processes.
LAST_USED_WRITE_INTERVAL: Final = timedelta(minutes=1)


class ApiKeyCache:
    """Finds keys by their hash. Only good ones are kept: guesses must not fill memory.

    Many requests that come with the same key at once look it up once. When it was used is written after the
    answer to the lookup, beside the request, and only where what was read is old.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        """No key is known at first."""
        self._ledger = ledger
        self._clock = clock
        self._cached: dict[bytes, tuple[ApiKey, datetime]] = {}
        self._lookups: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._pending_writes: set[asyncio.Task[None]] = set()

    def get(self, key_sha256: bytes, *, now: datetime) -> ApiKey | None:
        """The key, if it was looked up a moment ago and is still good."""
        kept = self._cached.get(key_sha256)
        if kept is None or not kept[1] <= now < kept[1] + MAX_AGE:
            return None
        key = kept[0]
        return key if key.expires_at is None or now < key.expires_at else None

    async def find(self, key_sha256: bytes) -> ApiKey | None:
        """Look a key up; None: there is none that is good."""
        asked = self._lookups.get(key_sha256)
        if asked is None:
            asked = self._lookups[key_sha256] = asyncio.create_task(self._look_up(key_sha256))
            asked.add_done_callback(lambda done: self._finish_lookup(key_sha256, done))
        # Shielded: when one of those who wait gives up, the lookup goes on for the others.
        return await asyncio.shield(asked)

    def invalidate(self, key_sha256: bytes) -> None:
        """Look it up again next time; what is being looked up just now is not kept either."""
        self._cached.pop(key_sha256, None)
        self._lookups.pop(key_sha256, None)

    async def wait_for_background_writes(self) -> None:
        """Wait for what is being looked up or written beside requests."""
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await asyncio.gather(*self._pending_writes, return_exceptions=True)

    async def _look_up(self, key_sha256: bytes) -> ApiKey | None:
        now = self._clock()
        async with self._ledger.transaction() as tx:
            key = await api_keys.find(tx, key_sha256, now=now)
        if key is None:
            return None
        if self._lookups.get(key_sha256) is asyncio.current_task():
            if len(self._cached) >= MAX_CACHED_KEYS:
                self._cached.clear()
            self._cached[key_sha256] = (key, now)
        if key.last_used_at is None or now - key.last_used_at >= LAST_USED_WRITE_INTERVAL:
            noting = asyncio.create_task(self._write_last_used(key, now))
            self._pending_writes.add(noting)
            noting.add_done_callback(self._pending_writes.discard)
        return key

    def _finish_lookup(self, key_sha256: bytes, done: asyncio.Task[ApiKey | None]) -> None:
        if self._lookups.get(key_sha256) is done:
            del self._lookups[key_sha256]
        # Asking for it tells asyncio that it was seen, when all who waited have gone.
        if not done.cancelled():
            done.exception()

    async def _write_last_used(self, key: ApiKey, now: datetime) -> None:
        try:
            async with self._ledger.transaction() as tx:
                await api_keys.record_use(tx, key.tenant_id, key.id, at=now)
        except Unavailable as error:
            log.info("key.use_not_noted", key_id=format_id(Prefix.KEY, key.id), why=str(error))
