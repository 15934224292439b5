"""How much replays may take beside live work: a share of it while live work waits. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

# So long after the last live delivery replays still leave most of the queue free for the next one.
LIVE_ACTIVITY_SECONDS: Final = 1.0
# Fewer than that would not move beside any live traffic at all.
MIN_CONCURRENT_REPLAYS: Final = 10
# What is saved up while replays have nothing to send must not become a flood.
MAX_CREDIT: Final = 100.0


@dataclass(frozen=True, slots=True)
class ReplayBudget:
    """The share that replays get at most, above 0 and up to 1, and what they may take now.

    `credit` is earned by live deliveries that were taken while others waited; `live_at` is when the last one
    was taken (seconds, any origin).
    """

    share: float
    credit: float = 0.0
    is_live_waiting: bool = False
    live_at: float = -math.inf

    def record_live(self, taken: int, *, is_live_waiting: bool, now: float) -> ReplayBudget:
        """Live work had its turn and took so many; `waits`: there is more than there was room for."""
        live_at = now if taken or is_live_waiting else self.live_at
        if not is_live_waiting:
            return replace(self, credit=0.0, is_live_waiting=False, live_at=live_at)
        earned = math.inf if self.share >= 1 else taken * self.share / (1 - self.share)
        return replace(
            self, credit=min(MAX_CREDIT, self.credit + earned), is_live_waiting=True, live_at=live_at
        )

    def is_live_active(self, now: float) -> bool:
        """Whether live deliveries came lately, so that replays must not use all there is."""
        return now - self.live_at < LIVE_ACTIVITY_SECONDS

    def compute_max_concurrent(self, deliveries_per_window: float) -> int:
        """How many replays may be in work beside live ones, where so many go out in the time of a window.

        In work, not in the queue: once everything takes longer, because the machine has enough to do, fewer
        go out, and so fewer still may.
        """
        return max(MIN_CONCURRENT_REPLAYS, round(deliveries_per_window * self.share))

    def compute_allowed(self, room: int) -> int:
        """How many replays may be taken now, when the queue has so much room for them."""
        return min(room, math.floor(self.credit)) if self.is_live_waiting else room

    def spend_credit(self, count: int) -> ReplayBudget:
        """So many replays were taken."""
        return replace(self, credit=max(0.0, self.credit - count)) if self.is_live_waiting else self
