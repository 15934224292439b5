"""Beside the relay: how the ledger stands and whether the broker answers, for metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Unavailable
from delivery.ledger.stats import gauges
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from delivery.ledger.db.session import Ledger
    from workers.broker.broker import Publisher
    from workers.relay.relay import RunInBrokerThread

INTERVAL_SECONDS: Final = 10.0
BROKER_TIMEOUT_SECONDS: Final = 10.0


class GaugeLoop:
    """Looks every ten seconds; who looks more often sees the same."""

    def __init__(self, ledger: Ledger, publisher: Publisher, *, clock: Callable[[], datetime]) -> None:
        """Nothing is asked until `run`."""
        self._ledger = ledger
        self._publisher = publisher
        self._clock = clock

    async def run(self, in_thread: RunInBrokerThread) -> None:
        """Look for ever; what does not answer is told as that. Neither waits for the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_check_repeatedly("database", self._update_gauges))
            group.create_task(_check_repeatedly("broker", lambda: self._check_broker(in_thread)))

    async def _update_gauges(self) -> bool:
        try:
            async with self._ledger.transaction() as tx:
                found = await gauges.read(tx, now=self._clock())
        except Unavailable:
            return False
        metrics.set_ledger_gauges(
            oldest=found.oldest_due_seconds,
            held=found.held_deliveries,
            partitions=found.partition_days_ahead,
            expiry=found.expiry_timestamps,
        )
        return True

    async def _check_broker(self, in_thread: RunInBrokerThread) -> bool:
        try:
            # Whoever publishes may hold the broker's thread for as long as the broker is silent.
            async with asyncio.timeout(BROKER_TIMEOUT_SECONDS):
                await in_thread(self._publisher.count_waiting)
        except (Unavailable, TimeoutError):
            return False
        return True


async def _check_repeatedly(dependency: str, is_available: Callable[[], Awaitable[bool]]) -> None:
    while True:
        metrics.set_dependency_up(dependency, is_up=await is_available())
        await asyncio.sleep(INTERVAL_SECONDS)
