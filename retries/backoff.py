"""Retry schedules: how long to wait before each attempt, with jitter, within limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ATTEMPTS: Final = 30
MAX_DELAY: Final = timedelta(days=7)
JITTER_RATIO: Final = 0.2  # a jitter of ±1 moves a delay by ±20 %
_NO_DELAY: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The delay before each attempt of a delivery, one entry an attempt; the first is always zero.

    Raises ValueError for no entries or more than 30, an entry outside 0 to 7 days, or a first entry that is
    not zero.
    """

    delays: tuple[timedelta, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.delays) <= MAX_ATTEMPTS:
            raise ValueError(f"A schedule has 1 to {MAX_ATTEMPTS} entries; this one has {len(self.delays)}.")
        for position, delay in enumerate(self.delays, start=1):
            if not _NO_DELAY <= delay <= MAX_DELAY:
                raise _build_delay_error(position)
        if self.delays[0] != _NO_DELAY:
            raise ValueError("The first attempt is made at once: a schedule begins with 0.")

    def __len__(self) -> int:
        """The number of attempts of a delivery, the first one included."""
        return len(self.delays)


DEFAULT_SCHEDULE: Final = Schedule(
    (
        _NO_DELAY,
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=14),
        timedelta(hours=20),
        timedelta(hours=24),
    )
)


def parse_schedule(seconds: Sequence[object]) -> Schedule:
    """Read a schedule from seconds, such as `[0, 5, 300]`; raises ValueError that names the wrong entry."""
    return Schedule(tuple(_parse_delay(entry, position) for position, entry in enumerate(seconds, start=1)))


def delay_before(step: int, schedule: Schedule, jitter: float) -> timedelta | None:
    """Return how long to wait before attempt number `step`, counted from 0; None when no attempt is left.

    `jitter` is a random number in [-1, 1]; numbers outside count as the nearer end.
    """
    if step < 0:
        raise ValueError("Attempts are counted from 0.")
    if step >= len(schedule):
        return None
    spread = 1 + JITTER_RATIO * max(-1.0, min(1.0, jitter))
    return min(schedule.delays[step] * spread, MAX_DELAY)


def _parse_delay(entry: object, position: int) -> timedelta:
    # Compared before any arithmetic: this also refuses NaN, infinity and huge integers.
    if isinstance(entry, int | float) and not isinstance(entry, bool) and 0 <= entry <= _MAX_DELAY_SECONDS:
        return timedelta(seconds=entry)
    raise _build_delay_error(position)


_MAX_DELAY_SECONDS: Final = MAX_DELAY.total_seconds()


def _build_delay_error(position: int) -> ValueError:
    return ValueError(
        f"Entry {position} of a schedule must be seconds from 0 to {_MAX_DELAY_SECONDS:.0f} (7 days)."
    )
