"""Rolling: attempts are counted by the minute in the background, and hours are sums of minutes.

Each step is one transaction that replaces what it counts, so a step that is taken twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.figures.spans import floor
from delivery.ledger import figures
from delivery.ledger.figures import HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.figures import Progress

# An attempt is recorded some time after it was made: its time limit later, or when the ledger is back.
SEEN_AFTER: Final = timedelta(minutes=1)
SETTLED_AFTER: Final = timedelta(minutes=15)
MINUTES_KEPT: Final = timedelta(days=3)
_AT_ONCE: Final = timedelta(minutes=10)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_FORGOTTEN_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, and how far that brings it: minutes to count anew, then an hour to add up from its."""

    progress: Progress
    minutes: tuple[datetime, datetime] | None = None
    hour: datetime | None = None


def begin_at(now: datetime) -> datetime:
    """Where counting begins: all before is settled, so that going backwards it is counted once."""
    return floor(now - SETTLED_AFTER, _HOUR)


def next_step(at: Progress, *, now: datetime, kept: timedelta) -> Step | None:
    """The most urgent thing to count; None: there is nothing to do just now."""
    seen = min(floor(now - SEEN_AFTER, _MINUTE), at.seen_until + _AT_ONCE)
    if seen > at.seen_until:
        return Step(replace(at, seen_until=seen), (at.seen_until, seen))
    settled = min(floor(now - SETTLED_AFTER, _MINUTE), at.settled_until + _AT_ONCE, at.seen_until)
    if settled > at.settled_until:
        return Step(replace(at, settled_until=settled), (at.settled_until, settled))
    summed = at.summed_until + _HOUR
    if summed <= at.settled_until:
        return Step(replace(at, summed_until=summed), hour=at.summed_until)
    if at.back_to > now - kept or not is_whole_hour(at.back_to):
        # Backwards over what was there before, in pieces of an hour.
        before = at.back_to - _AT_ONCE
        hour = before if is_whole_hour(before) else None
        return Step(replace(at, back_to=before), (before, at.back_to), hour)
    return None


def minutes_end(at: Progress, *, now: datetime) -> datetime:
    """Before when minutes may go: those that no hour has yet stay, however long nobody has counted."""
    unsummed = at.summed_until if is_whole_hour(at.back_to) else floor(at.back_to, _HOUR)
    return min(now - MINUTES_KEPT, unsummed)


def is_whole_hour(moment: datetime) -> bool:
    """Whether an hour begins then."""
    return moment == floor(moment, _HOUR)


class Rolling:
    """Counts what there is to count, one step at a time; of several, one does."""

    def __init__(self, ledger: Ledger, *, kept: timedelta, clock: Callable[[], datetime]) -> None:
        """`kept` is how long attempts are."""
        self._ledger = ledger
        self._kept = kept
        self._clock = clock

    async def step(self) -> bool:
        """Count the next thing; whether there may be more to do at once."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            at = await figures.take_turn(tx, begin_at=begin_at(now))
            step = None if at is None else next_step(at, now=now, kept=await self._past(tx, now))
            if step is None:
                return False
            if step.minutes is not None:
                await figures.roll(tx, *step.minutes, width=MINUTE)
            if step.hour is not None:
                await _sum_up(tx, step.hour, now=now)
            await figures.go_on(tx, step.progress)
        return True

    async def _past(self, tx: Transaction, now: datetime) -> timedelta:
        """How far back there is something to count."""
        oldest = await figures.oldest(tx)
        return timedelta(0) if oldest is None else min(self._kept, now - oldest)

    async def forget(self) -> bool:
        """Take away some of what is past its term; whether there may be more."""
        now, gone = self._clock(), 0
        async with self._ledger.transaction() as tx:
            at = await figures.take_turn(tx, begin_at=begin_at(now))
            if at is None:
                return False
            for width, before in ((MINUTE, minutes_end(at, now=now)), (HOUR, now - self._kept)):
                gone += await figures.forget(tx, width=width, before=before, most=_FORGOTTEN_AT_ONCE)
        return gone >= _FORGOTTEN_AT_ONCE


async def _sum_up(tx: Transaction, hour: datetime, *, now: datetime) -> None:
    end = hour + _HOUR
    await figures.sum_hour(tx, hour, end)
    if end <= now - MINUTES_KEPT:
        # They were counted for this hour alone: of a month there would be too many.
        await figures.clear(tx, hour, end, width=MINUTE)
