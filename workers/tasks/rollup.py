"""Figures, beside the relay: attempts are counted by the minute. Of several relays, one counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from delivery.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from delivery.figures import Rolling
    from workers.relay import InThread

log = structlog.get_logger()

# Between steps, so that counting history never takes more than a part of one connection's time.
BREATH_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 10.0


class Counting:
    """Has attempts counted for as long as the relay runs."""

    def __init__(self, rolling: Rolling) -> None:
        """Nothing is counted until `run`."""
        self._rolling = rolling

    async def run(self, _in_thread: InThread) -> None:
        """Go on for ever; an outage puts it off."""
        while True:
            more = await self._unless_away(self._rolling.step)
            if not more:
                await self._unless_away(self._rolling.forget)
            await asyncio.sleep(BREATH_SECONDS if more else PAUSE_SECONDS)

    async def _unless_away(self, do: Callable[[], Awaitable[bool]]) -> bool:
        """Do one thing; whether there may be more of it at once. What takes too long, or fails, waits."""
        try:
            return await do()
        except Unavailable as error:
            log.warning("figures.put_off", why=str(error))
            return False
