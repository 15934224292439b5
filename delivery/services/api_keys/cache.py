"""API keys that were looked up a moment ago."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id
from delivery.domain.single_flight import BoundedDict, SingleFlight
from delivery.ledger.records import api_keys
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.domain.api_key import ApiKey
    from delivery.ledger.db.session import Ledger

log = get_logger()

# How long another process may still accept a key after it was revoked.
MAX_AGE: Final = timedelta(seconds=5)
MAX_CACHED_KEYS: Final = 10_000
# `last_used_at` of a key is written at most this often, by all processes together.
LAST_USED_WRITE_INTERVAL: Final = timedelta(minutes=1)


class ApiKeyCache:
    """Finds keys by their hash. Only valid ones are cached: guesses must not fill memory.

    Concurrent requests with the same key share a lookup. `last_used_at` is written beside the request, after
    the lookup, and only when the stored time is old.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._cache: BoundedDict[bytes, tuple[ApiKey, datetime]] = BoundedDict(MAX_CACHED_KEYS)
        self._lookups: SingleFlight[bytes, ApiKey | None] = SingleFlight()
        self._pending_writes: set[asyncio.Task[None]] = set()

    def get(self, key_sha256: bytes, *, now: datetime) -> ApiKey | None:
        """Return the key if it was looked up a moment ago and has not expired."""
        cached = self._cache.get(key_sha256)
        if cached is None or not cached[1] <= now < cached[1] + MAX_AGE:
            return None
        key = cached[0]
        return key if key.expires_at is None or now < key.expires_at else None

    async def find(self, key_sha256: bytes) -> ApiKey | None:
        """Look a key up; None if no valid key has this hash."""
        return await self._lookups.run(key_sha256, lambda: self._look_up(key_sha256))

    def invalidate(self, key_sha256: bytes) -> None:
        """Look the key up again next time; the result of a running lookup is not cached either."""
        self._cache.pop(key_sha256, None)
        self._lookups.forget(key_sha256)

    async def wait_for_background_writes(self) -> None:
        """Wait for running lookups and for the writes of `last_used_at`."""
        await self._lookups.wait_until_idle()
        await asyncio.gather(*self._pending_writes, return_exceptions=True)

    async def _look_up(self, key_sha256: bytes) -> ApiKey | None:
        now = self._clock()
        async with self._ledger.transaction() as tx:
            key = await api_keys.find(tx, key_sha256, now=now)
        if key is None:
            return None
        if self._lookups.is_current(key_sha256):
            self._cache[key_sha256] = (key, now)
        if key.last_used_at is None or now - key.last_used_at >= LAST_USED_WRITE_INTERVAL:
            write = asyncio.create_task(self._write_last_used(key, now))
            self._pending_writes.add(write)
            write.add_done_callback(self._pending_writes.discard)
        return key

    async def _write_last_used(self, key: ApiKey, now: datetime) -> None:
        try:
            async with self._ledger.transaction() as tx:
                await api_keys.record_use(tx, key.tenant_id, key.id, at=now)
        except Unavailable as error:
            log.info("key.use_not_recorded", key_id=format_id(Prefix.KEY, key.id), why=str(error))
