"""Beside the relay: how the ledger stands and whether the broker answers, for metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from delivery import metrics
from delivery.errors import Unavailable
from delivery.ledger import gauges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from delivery.ledger import Ledger
    from workers.broker import Publisher
    from workers.relay import InThread

EVERY_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 10.0


class Watching:
    """Looks every ten seconds; who looks more often sees the same."""

    def __init__(self, ledger: Ledger, publisher: Publisher, *, clock: Callable[[], datetime]) -> None:
        """Nothing is asked until `run`."""
        self._ledger = ledger
        self._publisher = publisher
        self._clock = clock

    async def run(self, in_thread: InThread) -> None:
        """Look for ever; what does not answer is told as that. Neither waits for the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again("database", self._read))
            group.create_task(_again("broker", lambda: self._ask(in_thread)))

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
            # Whoever publishes may hold the broker's thread for as long as the broker is silent.
            async with asyncio.timeout(PATIENCE_SECONDS):
                await in_thread(self._publisher.waiting)
        except (Unavailable, TimeoutError):
            return False
        return True


async def _again(which: str, is_well: Callable[[], Awaitable[bool]]) -> None:
    while True:
        metrics.answers(which, well=await is_well())
        await asyncio.sleep(EVERY_SECONDS)
