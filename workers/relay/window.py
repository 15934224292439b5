"""The queue window: bounds the work that waits in the queue to a fraction of a second. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

# The largest claim: each claim costs a message, and a statement that starts it.
CLAIM_BATCH_SIZE = 100
# Enough to keep idle workers busy before their speed is known, and a bound on wrong estimates.
MIN_TARGET, MAX_TARGET = 200, 10_000
# How fast the estimate follows a change of speed: within about a second.
_SMOOTHING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class QueueWindow:
    """An estimate of the workers' speed in deliveries per second, and the limit that follows from it.

    `waiting` is the number of deliveries in the queue at the last look, `observed_at` when that was (seconds,
    any origin).
    """

    seconds: float
    per_second: float = 0.0
    waiting: int = 0
    observed_at: float = 0.0

    @property
    def deliveries_per_window(self) -> float:
        """How many deliveries leave the queue in the length of the window."""
        return self.per_second * self.seconds

    @property
    def target(self) -> int:
        """How many deliveries may wait in the queue."""
        return max(MIN_TARGET, min(MAX_TARGET, round(self.deliveries_per_window)))

    def observe_waiting(self, waiting: int, *, now: float) -> QueueWindow:
        """Update the estimate: what has left the queue since the last look, workers have started."""
        passed = now - self.observed_at
        if passed <= 0 or self.observed_at == 0:
            return replace(self, waiting=waiting, observed_at=now)
        speed = max(0, self.waiting - waiting) / passed
        weight = min(1.0, passed / _SMOOTHING_SECONDS)
        per_second = self.per_second + weight * (speed - self.per_second)
        return replace(self, per_second=per_second, waiting=waiting, observed_at=now)

    def record_queued(self, count: int) -> QueueWindow:
        """Count what was queued after the last look."""
        return replace(self, waiting=self.waiting + count)

    @property
    def room(self) -> int:
        """How many more deliveries may be queued now, in whole batches."""
        return max(0, self.target - self.waiting) // CLAIM_BATCH_SIZE * CLAIM_BATCH_SIZE
