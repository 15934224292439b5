"""Schedules the rollup of attempts into stats, and the deletion of old stats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.domain.errors import Unavailable
from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from delivery.services.stats.rollup import StatsRollup

# Between steps, so that counting history takes only a part of one connection's time.
STEP_PAUSE_SECONDS: Final = 0.05
IDLE_PAUSE_SECONDS: Final = 10.0


def create_rollup_task(rollup: StatsRollup) -> PeriodicTask:
    """Count attempts step by step; with nothing to count, delete old stats. With several relays, one does."""

    async def count_or_delete() -> float:
        try:
            has_more = await rollup.step()
        except Unavailable:
            await rollup.delete_expired()  # a count that fails again and again must not keep old stats
            raise
        if has_more:
            return STEP_PAUSE_SECONDS
        await rollup.delete_expired()
        return IDLE_PAUSE_SECONDS

    return PeriodicTask(count_or_delete, retry_seconds=IDLE_PAUSE_SECONDS, postponed_event="stats.postponed")
