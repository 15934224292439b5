"""Retention, beside the relay: what is past its term goes, every hour, or soon when there is more."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from delivery.errors import Unavailable

if TYPE_CHECKING:
    from delivery.retiring import Report, Retention
    from workers.relay import InThread

log = structlog.get_logger()

SELDOM: Final = timedelta(hours=1)
SOON: Final = timedelta(minutes=1)


class Keeping:
    """Has a run of retention again and again while the relay runs. Of several relays, one does."""

    def __init__(self, retention: Retention) -> None:
        """Nothing runs until `run`."""
        self._retention = retention

    async def run(self, _in_thread: InThread) -> None:
        """Go on for ever; an outage puts a run off."""
        while True:
            pause = await self._one()
            await asyncio.sleep(pause.total_seconds())

    async def _one(self) -> timedelta:
        """Have one run; returns when to have the next."""
        try:
            report = await self._retention.run()
        except Unavailable as error:
            log.warning("retention.put_off", why=str(error))
            return SOON
        if report is None:
            return SELDOM
        _tell(report)
        return SOON if report.more or report.busy else SELDOM


def _tell(report: Report) -> None:
    if report.did_something:
        log.info("retention.done", **report.facts())
    if report.busy:
        # A backup or a forgotten session: until it ends, these days stay.
        log.warning("retention.waits_for_readers", days=report.busy)
