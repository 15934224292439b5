"""How much work may stand in the queue: about a quarter of a second of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

# How many deliveries a claim holds at most: each costs a message, and a statement that starts it.
CLAIM_BATCH_SIZE = 100
# Enough to keep idle workers busy before anything is known of their speed, and a bound on surprise.
MIN_TARGET, MAX_TARGET = 200, 10_000
# How fast an estimate follows: a change of speed is believed within about a second.
_SMOOTHING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class QueueWindow:
    """An estimate of the workers' speed in deliveries per second, and what follows from it.

    `waiting` is what stood in the queue when we last looked, `at` when that was (seconds, any origin).
    """

    seconds: float
    per_second: float = 0.0
    waiting: int = 0
    observed_at: float = 0.0

    @property
    def deliveries_per_window(self) -> float:
        """How many deliveries leave the queue in the time of the window."""
        return self.per_second * self.seconds

    @property
    def target(self) -> int:
        """How many deliveries may stand in the queue."""
        return max(MIN_TARGET, min(MAX_TARGET, round(self.deliveries_per_window)))

    def observe_waiting(self, waiting: int, *, now: float) -> QueueWindow:
        """Look again: what left the queue since the last look was taken by workers."""
        passed = now - self.observed_at
        if passed <= 0 or self.observed_at == 0:
            return replace(self, waiting=waiting, observed_at=now)
        speed = max(0, self.waiting - waiting) / passed
        weight = min(1.0, passed / _SMOOTHING_SECONDS)
        per_second = self.per_second + weight * (speed - self.per_second)
        return replace(self, per_second=per_second, waiting=waiting, observed_at=now)

    def record_queued(self, count: int) -> QueueWindow:
        """Account for what was put into the queue after the last look."""
        return replace(self, waiting=self.waiting + count)

    @property
    def room(self) -> int:
        """How many more may be put into the queue now, in whole batches: what is less waits for more."""
        return max(0, self.target - self.waiting) // CLAIM_BATCH_SIZE * CLAIM_BATCH_SIZE
