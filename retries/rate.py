"""A smooth rate limit: at most `limit` deliveries in any interval of `per`, spread evenly over it. Pure.

The generic cell rate algorithm (ITU-T I.371): the only state is when the next delivery is due. Up to a tenth
of a second's worth may go at the same time, so that a high rate does not need a look for each. In any
interval of `per`, no more than that go beyond the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

_MAX_BURST_TIME: Final = timedelta(seconds=0.1)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` deliveries within `per`."""

    limit: int
    per: timedelta

    @property
    def interval(self) -> timedelta:
        """The time between two deliveries, rounded up to clock resolution: the limit is a promise."""
        return -(-self.per // self.limit)

    @property
    def burst(self) -> int:
        """How many may go at the same time after a pause."""
        return max(1, min(self.limit, _MAX_BURST_TIME // self.interval))

    @property
    def tolerance(self) -> timedelta:
        """How late a look may come without losing rate: no poll comes exactly on time."""
        return min(_MAX_BURST_TIME, self.burst * self.interval - timedelta.resolution)


def count_permitted(rate: RateLimit, next_at: datetime | None, *, now: datetime) -> tuple[int, datetime]:
    """Return how many may go now, and from when they count: after n, the next is due n intervals later."""
    if next_at is None or next_at < now - rate.tolerance:
        counts_from = now - (rate.burst - 1) * rate.interval
    else:
        counts_from = next_at
    if counts_from > now:
        return 0, counts_from
    return (now - counts_from) // rate.interval + 1, counts_from
