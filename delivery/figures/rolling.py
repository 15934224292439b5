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

    from delivery.ledger import Ledger
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
    """What to count next, and how far that brings it. `width` in seconds; `summed`: from minutes."""

    since: datetime
    until: datetime
    width: int
    progress: Progress
    summed: bool = False


def begin_at(now: datetime) -> datetime:
    """Where counting begins: all before is settled, so that going backwards it is counted once."""
    return floor(now - SETTLED_AFTER, _HOUR)


def next_step(at: Progress, *, now: datetime, kept: timedelta) -> Step | None:
    """The most urgent thing to count; None: there is nothing to do just now."""
    seen = min(floor(now - SEEN_AFTER, _MINUTE), at.seen_until + _AT_ONCE)
    if seen > at.seen_until:
        return Step(at.seen_until, seen, MINUTE, replace(at, seen_until=seen))
    settled = min(floor(now - SETTLED_AFTER, _MINUTE), at.settled_until + _AT_ONCE, at.seen_until)
    if settled > at.settled_until:
        return Step(at.settled_until, settled, MINUTE, replace(at, settled_until=settled))
    hour = at.summed_until + _HOUR
    if hour <= at.settled_until:
        return Step(at.summed_until, hour, HOUR, replace(at, summed_until=hour), summed=True)
    if at.back_to > now - kept:
        # Backwards over what was there before: pages look at minutes of a day, and at hours beyond.
        before = at.back_to - _HOUR
        return Step(before, at.back_to, HOUR, replace(at, back_to=before))
    return None


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
            step = None if at is None else next_step(at, now=now, kept=self._kept)
            if step is None:
                return False
            if step.summed:
                await figures.sum_hour(tx, step.since, step.until)
            else:
                await figures.roll(tx, step.since, step.until, width=step.width)
                if step.width == HOUR and step.since > now - MINUTES_KEPT:
                    await figures.roll(tx, step.since, step.until, width=MINUTE)
            await figures.go_on(tx, step.progress)
        return True

    async def forget(self) -> bool:
        """Take away some of what is past its term; whether there may be more."""
        now, gone = self._clock(), 0
        async with self._ledger.transaction() as tx:
            at = await figures.take_turn(tx, begin_at=begin_at(now))
            if at is None:
                return False
            # A minute that no hour has yet stays, however long nobody has counted.
            for width, before in (
                (MINUTE, min(now - MINUTES_KEPT, at.summed_until)),
                (HOUR, now - self._kept),
            ):
                gone += await figures.forget(tx, width=width, before=before, most=_FORGOTTEN_AT_ONCE)
        return gone >= _FORGOTTEN_AT_ONCE
