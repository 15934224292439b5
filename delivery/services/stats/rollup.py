"""Rolling: attempts are counted by the minute in the background, and hours are sums of minutes.

Each step is one transaction that replaces what it counts, so a step that is taken twice changes nothing.
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

# An attempt is recorded some time after it was made: its time limit later, or when the ledger is back.
SEEN_AFTER: Final = timedelta(minutes=1)
SETTLED_AFTER: Final = timedelta(minutes=15)
MINUTE_RETENTION: Final = timedelta(days=3)
_MAX_STEP_DURATION: Final = timedelta(minutes=10)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DELETE_BATCH_SIZE: Final = 5_000


@dataclass(frozen=True, slots=True)
class RollupStep:
    """What to do next, and how far that brings it: minutes to count anew, then an hour to add up from its."""

    progress: RollupProgress
    minutes: tuple[datetime, datetime] | None = None
    hour: datetime | None = None


def compute_start(now: datetime) -> datetime:
    """Where counting begins: all before is settled, so that going backwards it is counted once."""
    return floor_to_interval(now - SETTLED_AFTER, _HOUR)


def plan_next_step(progress: RollupProgress, *, now: datetime, retention: timedelta) -> RollupStep | None:
    """The most urgent thing to count; None: there is nothing to do just now."""
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
        # Backwards over what was there before, in pieces of an hour.
        before = progress.back_to - _MAX_STEP_DURATION
        hour = before if is_whole_hour(before) else None
        return RollupStep(replace(progress, back_to=before), (before, progress.back_to), hour)
    return None


def compute_minutes_end(progress: RollupProgress, *, now: datetime) -> datetime:
    """Before when minutes may go: those that no hour has yet stay, however long nobody has counted."""
    unsummed = (
        progress.summed_until
        if is_whole_hour(progress.back_to)
        else floor_to_interval(progress.back_to, _HOUR)
    )
    return min(now - MINUTE_RETENTION, unsummed)


def is_whole_hour(moment: datetime) -> bool:
    """Whether an hour begins then."""
    return moment == floor_to_interval(moment, _HOUR)


class StatsRollup:
    """Counts what there is to count, one step at a time; of several, one does."""

    def __init__(self, ledger: Ledger, *, retention: timedelta, clock: Callable[[], datetime]) -> None:
        """`kept` is how long attempts are."""
        self._ledger = ledger
        self._retention = retention
        self._clock = clock

    async def step(self) -> bool:
        """Count the next thing; whether there may be more to do at once."""
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
        """How far back there is something to count."""
        oldest = await rollup.find_oldest_attempt_time(tx)
        return timedelta(0) if oldest is None else min(self._retention, now - oldest)

    async def delete_expired(self) -> bool:
        """Take away some of what is past its term; whether there may be more."""
        now, gone = self._clock(), 0
        async with self._ledger.transaction() as tx:
            at = await rollup.lock_progress(tx, start_at=compute_start(now))
            if at is None:
                return False
            for width, before in (
                (MINUTE_SECONDS, compute_minutes_end(at, now=now)),
                (HOUR_SECONDS, now - self._retention),
            ):
                gone += await rollup.delete_old(tx, width=width, before=before, limit=_DELETE_BATCH_SIZE)
        return gone >= _DELETE_BATCH_SIZE


async def _sum_hour(tx: Transaction, hour: datetime, *, now: datetime) -> None:
    end = hour + _HOUR
    await rollup.sum_hour(tx, hour, end)
    if end <= now - MINUTE_RETENTION:
        # They were counted for this hour alone: of a month there would be too many.
        await rollup.clear(tx, hour, end, width=MINUTE_SECONDS)
