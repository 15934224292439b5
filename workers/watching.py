"""Beside the relay: how the ledger stands and whether the broker answers, for metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from delivery import metrics
from delivery.errors import Unavailable
from delivery.ledger import gauges

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.ledger import Ledger
    from workers.broker import Publisher
    from workers.relay import InThread

EVERY_SECONDS: Final = 10.0


class Watching:
    """Looks every ten seconds; who looks more often sees the same."""

    def __init__(self, ledger: Ledger, publisher: Publisher, *, clock: Callable[[], datetime]) -> None:
        """Nothing is asked until `run`."""
        self._ledger = ledger
        self._publisher = publisher
        self._clock = clock

    async def run(self, in_thread: InThread) -> None:
        """Look for ever; what does not answer is told as that."""
        while True:
            metrics.answers("database", well=await self._read())
            metrics.answers("broker", well=await self._ask(in_thread))
            await asyncio.sleep(EVERY_SECONDS)

    async def _read(self) -> bool:
        try:
            async with self._ledger.transaction() as tx:
                found = await gauges.read(tx, now=self._clock())
        except Unavailable:
            return False
        metrics.stands(oldest=found.oldest, held=found.held, partitions=found.partitions, expiry=found.expiry)
        return True

    async def _ask(self, in_thread: InThread) -> bool:
        try:
            await in_thread(self._publisher.waiting)
        except Unavailable:
            return False
        return True
