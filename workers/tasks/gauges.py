"""Schedules the gauges: the ledger's state, and whether database and broker answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Unavailable
from delivery.services.stats.gauges import update_ledger_gauges
from delivery.telemetry import metrics
from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from delivery.ledger.db.session import Ledger
    from workers.broker.broker import Publisher
    from workers.broker.thread import BrokerThread

INTERVAL_SECONDS: Final = 10.0
BROKER_TIMEOUT_SECONDS: Final = 10.0


def create_gauge_tasks(
    ledger: Ledger, publisher: Publisher, thread: BrokerThread, *, clock: Callable[[], datetime]
) -> list[PeriodicTask]:
    """Check database and broker every ten seconds. Two tasks, so that neither waits for the other."""

    async def check_broker() -> None:
        # A publish may hold the broker's thread for as long as the broker is silent.
        async with asyncio.timeout(BROKER_TIMEOUT_SECONDS):
            await thread.run(publisher.count_waiting)

    return [
        _create_check("database", lambda: update_ledger_gauges(ledger, now=clock())),
        _create_check("broker", check_broker),
    ]


def _create_check(dependency: str, check: Callable[[], Awaitable[None]]) -> PeriodicTask:
    async def step() -> float:
        try:
            await check()
        except (Unavailable, TimeoutError):
            metrics.set_dependency_up(dependency, is_up=False)
        else:
            metrics.set_dependency_up(dependency, is_up=True)
        return INTERVAL_SECONDS

    return PeriodicTask(step, retry_seconds=INTERVAL_SECONDS, postponed_event=None)
