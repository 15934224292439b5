"""The in-flight limit of an endpoint: slow start, then congestion avoidance. Pure.

The ramp doubles the limit with every round of good answers: 1, 2, 4, 8 … After it the limit grows by one per
round (additive increase) and halves when the endpoint is overloaded (multiplicative decrease), as in TCP
(RFC 5681, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

# The limit of an endpoint without history.
INITIAL_IN_FLIGHT: Final = 10


@dataclass(frozen=True, slots=True)
class InFlightLimit:
    """The current limit. `credit` counts good answers in this round; `lowered_at` is when it last fell."""

    now: int
    ramping: bool
    credit: int = 0
    lowered_at: datetime | None = None

    @classmethod
    def start(cls, max_in_flight: int) -> InFlightLimit:
        """Create the limit of a new endpoint."""
        start = min(INITIAL_IN_FLIGHT, max_in_flight)
        return cls(start, ramping=start < max_in_flight)

    @classmethod
    def start_ramp(cls) -> InFlightLimit:
        """Create the limit of an endpoint that has just recovered: one, doubling from there."""
        return cls(1, ramping=True)


def raise_limit(limit: InFlightLimit, *, max_in_flight: int) -> InFlightLimit:
    """Count a good answer; a whole round of them raises the limit, up to `max_in_flight`."""
    if limit.now >= max_in_flight:
        return (
            replace(limit, now=max_in_flight, ramping=False, credit=0)
            if _is_unsettled(limit, max_in_flight)
            else limit
        )
    if limit.credit + 1 < limit.now:
        return replace(limit, credit=limit.credit + 1)
    raised = min(max_in_flight, limit.now * 2 if limit.ramping else limit.now + 1)
    return replace(limit, now=raised, ramping=limit.ramping and raised < max_in_flight, credit=0)


def lower_limit(limit: InFlightLimit, *, started_at: datetime, now: datetime) -> InFlightLimit:
    """Halve the limit and end the ramp: the endpoint is overloaded.

    Attempts that started before the last fall change nothing: those in flight then all fail together.
    """
    if limit.lowered_at is not None and started_at <= limit.lowered_at:
        return limit
    return InFlightLimit(max(1, limit.now // 2), ramping=False, lowered_at=now)


def _is_unsettled(limit: InFlightLimit, max_in_flight: int) -> bool:
    return limit.now > max_in_flight or limit.ramping or limit.credit > 0
