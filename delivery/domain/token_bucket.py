"""A token bucket as a value: so many at once, and so many a second after that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

NOTHING: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` at once after a rest, `per_second` from then on."""

    per_second: float
    burst: float

    @classmethod
    def evenly(cls, per_second: int) -> Pace:
        """So many a second, of which a second's worth may come at once."""
        return cls(per_second, per_second)


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many are left, as of this moment. Below nought: more came than there were."""

    left: float
    at: datetime

    @classmethod
    def full(cls, pace: Pace, *, now: datetime) -> Bucket:
        """One that nothing was taken from."""
        return cls(pace.burst, now)

    def refilled(self, pace: Pace, *, now: datetime) -> Bucket:
        """The same one now. A clock that was set back adds nothing, and takes nothing away."""
        gained = max(0.0, (now - self.at) / _SECOND) * pace.per_second
        return Bucket(min(pace.burst, self.left + gained), now)

    def less_one(self, *, least: float = 0) -> Bucket:
        """After one was taken; it never owes more than `least`."""
        return Bucket(max(least, self.left - 1), self.at)

    def wait(self, pace: Pace) -> timedelta:
        """How long until one may be taken; nothing: now."""
        return NOTHING if self.left >= 1 else (1 - self.left) / pace.per_second * _SECOND

    def until_full(self, pace: Pace) -> timedelta:
        """How long until it is as if nothing had been taken."""
        return max(0.0, pace.burst - self.left) / pace.per_second * _SECOND
