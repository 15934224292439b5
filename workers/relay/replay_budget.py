"""How much replays may take beside live work: a share of it while live work waits. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

# So long after the last live delivery replays still leave most of the queue free for the next one.
LATELY_SECONDS: Final = 1.0
# Fewer than that would not move beside any live traffic at all.
FEWEST_AT_ONCE: Final = 10
# What is saved up while replays have nothing to send must not become a flood.
MOST_CREDIT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Share:
    """The share that replays get at most, above 0 and up to 1, and what they may take now.

    `credit` is earned by live deliveries that were taken while others waited; `live_at` is when the last one
    was taken (seconds, any origin).
    """

    share: float
    credit: float = 0.0
    waits: bool = False
    live_at: float = -math.inf

    def after_live(self, taken: int, *, waits: bool, at: float) -> Share:
        """Live work had its turn and took so many; `waits`: there is more than there was room for."""
        live_at = at if taken or waits else self.live_at
        if not waits:
            return replace(self, credit=0.0, waits=False, live_at=live_at)
        earned = math.inf if self.share >= 1 else taken * self.share / (1 - self.share)
        return replace(self, credit=min(MOST_CREDIT, self.credit + earned), waits=True, live_at=live_at)

    def is_beside_live(self, at: float) -> bool:
        """Whether live deliveries came lately, so that replays must not use all there is."""
        return at - self.live_at < LATELY_SECONDS

    def at_once(self, work: float) -> int:
        """How many replays may be in work beside live ones, where so many go out in the time of a window.

        In work, not in the queue: once everything takes longer, because the machine has enough to do, fewer
        go out, and so fewer still may.
        """
        return max(FEWEST_AT_ONCE, round(work * self.share))

    def allowed(self, room: int) -> int:
        """How many replays may be taken now, when the queue has so much room for them."""
        return min(room, math.floor(self.credit)) if self.waits else room

    def used(self, count: int) -> Share:
        """So many replays were taken."""
        return replace(self, credit=max(0.0, self.credit - count)) if self.waits else self
