"""Retention, beside the relay: what is past its term goes, every hour, or soon when there is more."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from delivery.services.retention import RetentionReport, RetentionService
    from workers.relay.relay import RunInBrokerThread

log = structlog.get_logger()

RUN_INTERVAL: Final = timedelta(hours=1)
RETRY_INTERVAL: Final = timedelta(minutes=1)


class RetentionLoop:
    """Has a run of retention again and again while the relay runs. Of several relays, one does."""

    def __init__(self, retention: RetentionService) -> None:
        """Nothing runs until `run`."""
        self._retention = retention

    async def run(self, _in_thread: RunInBrokerThread) -> None:
        """Go on for ever; an outage puts a run off."""
        while True:
            pause = await self._run_once()
            await asyncio.sleep(pause.total_seconds())

    async def _run_once(self) -> timedelta:
        """Have one run; returns when to have the next."""
        try:
            report = await self._retention.run()
        except Unavailable as error:
            log.warning("retention.put_off", why=str(error))
            return RETRY_INTERVAL
        if report is None:
            return RUN_INTERVAL
        _log_report(report)
        return RETRY_INTERVAL if report.more or report.busy else RUN_INTERVAL


def _log_report(report: RetentionReport) -> None:
    if report.did_something:
        log.info("retention.done", **report.to_dict())
    if report.busy:
        # A backup or a forgotten session: until it ends, these days stay.
        log.warning("retention.waits_for_readers", days=report.busy)
