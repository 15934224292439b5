"""Figures, beside the relay: attempts are counted by the minute. Of several relays, one counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.services.stats.rollup import StatsRollup
    from workers.relay.relay import RunInBrokerThread

log = structlog.get_logger()

# Between steps, so that counting history never takes more than a part of one connection's time.
STEP_PAUSE_SECONDS: Final = 0.05
IDLE_PAUSE_SECONDS: Final = 10.0


class RollupLoop:
    """Has attempts counted for as long as the relay runs."""

    def __init__(self, rollup: StatsRollup) -> None:
        """Nothing is counted until `run`."""
        self._rollup = rollup

    async def run(self, _in_thread: RunInBrokerThread) -> None:
        """Go on for ever; an outage puts it off."""
        while True:
            more = await self._run_unless_unavailable(self._rollup.step)
            if not more:
                await self._run_unless_unavailable(self._rollup.delete_expired)
            await asyncio.sleep(STEP_PAUSE_SECONDS if more else IDLE_PAUSE_SECONDS)

    async def _run_unless_unavailable(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Do one thing; whether there may be more of it at once. What takes too long, or fails, waits."""
        try:
            return await step()
        except Unavailable as error:
            log.warning("figures.put_off", why=str(error))
            return False
