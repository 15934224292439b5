"""Replay jobs, seen from the relay: whichever has a step to take is named to a worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from delivery.errors import Unavailable
from delivery.ledger import replays

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from workers.broker import Publisher
    from workers.relay import InThread

log = structlog.get_logger()

# Few at once: who waited longest comes first, so that any number of jobs share what there is.
AT_ONCE: Final = 8
# A step whose message was lost, or whose worker died, is named again after that.
PATIENCE: Final = timedelta(seconds=5)
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Replaying:
    """Names jobs to workers for as long as the relay runs. With several relays each names some."""

    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._publisher = publisher

    async def run(self, in_thread: InThread) -> None:
        """Go on for ever; an outage puts jobs off."""
        while True:
            pause = LONGEST_PAUSE
            try:
                pause = await self._name_due(in_thread)
            except Unavailable as error:
                log.warning("replays.put_off", why=str(error))
            await asyncio.sleep(pause)

    async def _name_due(self, in_thread: InThread) -> float:
        """Name those that have a step to take; returns when to look again, in seconds."""
        async with self._ledger.transaction() as tx:
            due = await replays.take_due(tx, most=AT_ONCE, patience=PATIENCE)
            soonest = await replays.next_due_in(tx)
        if due:
            await in_thread(lambda: self._publisher.publish(due))
        wait = LONGEST_PAUSE if soonest is None else soonest.total_seconds()
        return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, wait))
