"""The replay budget: the share of the queue that replays may use while live work waits. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

# How long after the last live delivery replays still leave most of the queue free for the next one.
LIVE_ACTIVITY_SECONDS: Final = 1.0
# With fewer, replays would stand still beside live traffic.
MIN_CONCURRENT_REPLAYS: Final = 10
# Credit saved while there was nothing to replay must not become a flood.
MAX_CREDIT: Final = 100.0


@dataclass(frozen=True, slots=True)
class ReplayBudget:
    """The largest share of replays, above 0 and up to 1, and what they may use now.

    `credit` is earned by live deliveries that are claimed while others wait; `live_at` is when the last one
    was claimed (seconds, any origin).
    """

    share: float
    credit: float = 0.0
    is_live_waiting: bool = False
    live_at: float = -math.inf

    def record_live(self, taken: int, *, is_live_waiting: bool, now: float) -> ReplayBudget:
        """Earn credit for claimed live deliveries, while more of them wait than there was room for."""
        live_at = now if taken or is_live_waiting else self.live_at
        if not is_live_waiting:
            return replace(self, credit=0.0, is_live_waiting=False, live_at=live_at)
        earned = math.inf if self.share >= 1 else taken * self.share / (1 - self.share)
        return replace(
            self, credit=min(MAX_CREDIT, self.credit + earned), is_live_waiting=True, live_at=live_at
        )

    def is_live_active(self, now: float) -> bool:
        """Whether live deliveries came recently, so that replays must not use all of the queue."""
        return now - self.live_at < LIVE_ACTIVITY_SECONDS

    def compute_max_concurrent(self, deliveries_per_window: float) -> int:
        """Return how many replays may be in progress beside live deliveries.

        In progress, not in the queue: when a busy machine makes everything slower, fewer deliveries end in a
        window, and the limit falls with them.
        """
        return max(MIN_CONCURRENT_REPLAYS, round(deliveries_per_window * self.share))

    def compute_allowed(self, room: int) -> int:
        """Return how many replays may be claimed now, given the queue's room for them."""
        return min(room, math.floor(self.credit)) if self.is_live_waiting else room

    def spend_credit(self, count: int) -> ReplayBudget:
        """Spend credit for replays that were claimed."""
        return replace(self, credit=max(0.0, self.credit - count)) if self.is_live_waiting else self
