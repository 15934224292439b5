"""Rolls attempts up by the minute in the background, and minutes up to hours.

Each step is one transaction that replaces the counts of its period, so repeating a step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.ledger.stats import rollup
from delivery.ledger.stats.rollup import HOUR_SECONDS, MINUTE_SECONDS
from delivery.services.stats.series import floor_to_interval

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.stats.rollup import RollupProgress

# An attempt is recorded after it was made: up to its timeout later, or when the ledger is back.
SEEN_AFTER: Final = timedelta(minutes=1)
SETTLED_AFTER: Final = timedelta(minutes=15)
MINUTE_RETENTION: Final = timedelta(days=3)
_MAX_STEP_DURATION: Final = timedelta(minutes=10)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DELETE_BATCH_SIZE: Final = 5_000


@dataclass(frozen=True, slots=True)
class RollupStep:
    """The next step and the progress after it: minutes to count, then an hour to sum up from its minutes."""

    progress: RollupProgress
    minutes: tuple[datetime, datetime] | None = None
    hour: datetime | None = None


def compute_start(now: datetime) -> datetime:
    """Where counting begins; everything before is settled, so counting backwards counts it once."""
    return floor_to_interval(now - SETTLED_AFTER, _HOUR)


def plan_next_step(progress: RollupProgress, *, now: datetime, retention: timedelta) -> RollupStep | None:
    """Plan the most urgent step; None: nothing to do now."""
    seen = min(floor_to_interval(now - SEEN_AFTER, _MINUTE), progress.seen_until + _MAX_STEP_DURATION)
    if seen > progress.seen_until:
        return RollupStep(replace(progress, seen_until=seen), (progress.seen_until, seen))
    settled = min(
        floor_to_interval(now - SETTLED_AFTER, _MINUTE),
        progress.settled_until + _MAX_STEP_DURATION,
        progress.seen_until,
    )
    if settled > progress.settled_until:
        return RollupStep(replace(progress, settled_until=settled), (progress.settled_until, settled))
    summed = progress.summed_until + _HOUR
    if summed <= progress.settled_until:
        return RollupStep(replace(progress, summed_until=summed), hour=progress.summed_until)
    if progress.back_to > now - retention or not is_whole_hour(progress.back_to):
        # Backwards over older history, in parts of an hour.
        before = progress.back_to - _MAX_STEP_DURATION
        hour = before if is_whole_hour(before) else None
        return RollupStep(replace(progress, back_to=before), (before, progress.back_to), hour)
    return None


def compute_minutes_end(progress: RollupProgress, *, now: datetime) -> datetime:
    """Before when minutes may be deleted; minutes that are not in an hour yet stay, however old."""
    unsummed = (
        progress.summed_until
        if is_whole_hour(progress.back_to)
        else floor_to_interval(progress.back_to, _HOUR)
    )
    return min(now - MINUTE_RETENTION, unsummed)


def is_whole_hour(moment: datetime) -> bool:
    """Whether the moment is the beginning of an hour."""
    return moment == floor_to_interval(moment, _HOUR)


class StatsRollup:
    """Rolls up attempts step by step; of several processes, one at a time."""

    def __init__(self, ledger: Ledger, *, retention: timedelta, clock: Callable[[], datetime]) -> None:
        """`retention` is that of attempts."""
        self._ledger = ledger
        self._retention = retention
        self._clock = clock

    async def step(self) -> bool:
        """Take the next step; returns whether another may follow at once."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            at = await rollup.lock_progress(tx, start_at=compute_start(now))
            step = (
                None
                if at is None
                else plan_next_step(at, now=now, retention=await self._measure_history(tx, now))
            )
            if step is None:
                return False
            if step.minutes is not None:
                await rollup.roll_up(tx, *step.minutes, width=MINUTE_SECONDS)
            if step.hour is not None:
                await _sum_hour(tx, step.hour, now=now)
            await rollup.write_progress(tx, step.progress)
        return True

    async def _measure_history(self, tx: Transaction, now: datetime) -> timedelta:
        """How far back attempts exist."""
        oldest = await rollup.find_oldest_attempt_time(tx)
        return timedelta(0) if oldest is None else min(self._retention, now - oldest)

    async def delete_expired(self) -> bool:
        """Delete a batch of expired counts; returns whether there may be more."""
        now, deleted = self._clock(), 0
        async with self._ledger.transaction() as tx:
            at = await rollup.lock_progress(tx, start_at=compute_start(now))
            if at is None:
                return False
            for width, before in (
                (MINUTE_SECONDS, compute_minutes_end(at, now=now)),
                (HOUR_SECONDS, now - self._retention),
            ):
                deleted += await rollup.delete_old(tx, width=width, before=before, limit=_DELETE_BATCH_SIZE)
        return deleted >= _DELETE_BATCH_SIZE


async def _sum_hour(tx: Transaction, hour: datetime, *, now: datetime) -> None:
    end = hour + _HOUR
    await rollup.sum_hour(tx, hour, end)
    if end <= now - MINUTE_RETENTION:
        # These minutes were counted only for this hour; those of a month would be too many.
        await rollup.clear(tx, hour, end, width=MINUTE_SECONDS)
