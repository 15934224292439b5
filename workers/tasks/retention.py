"""Schedules retention: a run every hour, or a minute later when there is more to delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.log import get_logger
from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from delivery.services.retention import RetentionReport, RetentionService

log = get_logger()

RUN_INTERVAL_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 60.0


def create_retention_task(retention: RetentionService) -> PeriodicTask:
    """Delete expired data. With several relays, only one does."""

    async def run_retention() -> float:
        report = await retention.run()
        if report is None:
            return RUN_INTERVAL_SECONDS
        _log_report(report)
        return RETRY_SECONDS if report.more or report.busy else RUN_INTERVAL_SECONDS

    return PeriodicTask(run_retention, retry_seconds=RETRY_SECONDS, postponed_event="retention.postponed")


def _log_report(report: RetentionReport) -> None:
    if report.did_something:
        log.info("retention.done", **report.to_dict())
    if report.busy:
        # A backup or a forgotten session holds these days until it ends.
        log.warning("retention.waits_for_readers", days=report.busy)
