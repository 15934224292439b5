"""Work that the relay does again and again beside its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from delivery.domain.errors import Unavailable
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = get_logger()


class PeriodicTask:
    """Runs a step for ever; each step returns how many seconds to wait before the next.

    A step that raises Unavailable is postponed. Any other error ends the task, and the process with it.
    """

    def __init__(
        self, step: Callable[[], Awaitable[float]], *, retry_seconds: float, postponed_event: str | None
    ) -> None:
        """`postponed_event` is logged for each postponed step; None if the outage is logged elsewhere."""
        self._step = step
        self._retry_seconds = retry_seconds
        self._postponed_event = postponed_event
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Run the next step now, or right after the one that is running."""
        self._woken.set()

    async def run(self) -> NoReturn:
        """Run steps until cancelled."""
        while True:
            self._woken.clear()
            try:
                pause = await self._step()
            except Unavailable as error:
                if self._postponed_event is not None:
                    log.warning(self._postponed_event, why=str(error))
                await asyncio.sleep(self._retry_seconds)
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue
