"""The relay's clock: partitions made ahead, old keys forgotten, deleted endpoints' work cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from delivery.errors import Unavailable
from delivery.ledger import partitions, upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from delivery.ledger import Ledger
    from delivery.model import EndpointId

log = structlog.get_logger()

ROUND_SECONDS = 60.0
_FULL = upkeep.AT_ONCE


class Upkeep:
    """Does a round every minute, and buries deleted endpoints as soon as it hears of them."""

    def __init__(self, ledger: Ledger, *, idempotency_age: timedelta, clock: Callable[[], datetime]) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._idempotency_age = idempotency_age
        self._clock = clock
        self._deleted: list[EndpointId] = []
        self._asked = asyncio.Event()

    def bury(self, endpoints: Sequence[EndpointId]) -> None:
        """Cancel, soon, what is still owed to these deleted endpoints."""
        if endpoints:
            self._deleted = list(endpoints)
            self._asked.set()

    async def run(self) -> None:
        """Keep up for ever; an outage of the ledger puts a round off."""
        next_round = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._asked.clear()
            try:
                await self._cancel()
                if loop.time() >= next_round:
                    await self._round()
                    next_round = loop.time() + ROUND_SECONDS
            except Unavailable as error:
                log.warning("upkeep.put_off", why=str(error))
                await asyncio.sleep(1)
            self._asked.clear()
            try:
                await asyncio.wait_for(self._asked.wait(), timeout=max(0.1, next_round - loop.time()))
            except TimeoutError:
                continue

    async def _round(self) -> None:
        async with self._ledger.transaction() as tx:
            made = await partitions.ensure(tx, now=self._clock())
        if made:
            log.info("partitions.made", names=made)
        full = True
        while full:
            async with self._ledger.transaction() as tx:
                full = await upkeep.forget_idempotency_keys(tx, older_than=self._idempotency_age) == _FULL

    async def _cancel(self) -> None:
        # Others may be named meanwhile; what an outage leaves undone is named again by the next scan.
        deleted, self._deleted = self._deleted, []
        full = bool(deleted)
        while full:
            async with self._ledger.transaction() as tx:
                cancelled = await upkeep.cancel_of_deleted(tx, deleted)
            log.info("deliveries.cancelled", count=cancelled, reason="endpoint_deleted")
            full = cancelled == _FULL
