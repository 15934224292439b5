"""Replay jobs, seen from the relay: whichever has a step to take is named to a worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from delivery.domain.errors import Unavailable
from delivery.ledger.replays import jobs

if TYPE_CHECKING:
    from delivery.ledger.db.session import Ledger
    from workers.broker.broker import Publisher
    from workers.relay.relay import RunInBrokerThread

log = structlog.get_logger()

# Few at once: who waited longest comes first, so that any number of jobs share what there is.
JOB_BATCH_SIZE: Final = 8
# A step whose message was lost, or whose worker died, is named again after that.
STEP_TIMEOUT: Final = timedelta(seconds=5)
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0


class ReplayLoop:
    """Names jobs to workers for as long as the relay runs. With several relays each names some."""

    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._publisher = publisher

    async def run(self, in_thread: RunInBrokerThread) -> None:
        """Go on for ever; an outage puts jobs off."""
        while True:
            pause = MAX_PAUSE_SECONDS
            try:
                pause = await self._publish_due(in_thread)
            except Unavailable as error:
                log.warning("replays.put_off", why=str(error))
            await asyncio.sleep(pause)

    async def _publish_due(self, in_thread: RunInBrokerThread) -> float:
        """Name those that have a step to take; returns when to look again, in seconds."""
        async with self._ledger.transaction() as tx:
            due = await jobs.claim_due(tx, limit=JOB_BATCH_SIZE, lease=STEP_TIMEOUT)
            soonest = await jobs.read_next_due_delay(tx)
        if due:
            await in_thread(lambda: self._publisher.publish(due))
        wait = MAX_PAUSE_SECONDS if soonest is None else soonest.total_seconds()
        return min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, wait))
