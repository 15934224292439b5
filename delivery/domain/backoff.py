"""Pauses between tries while a dependency is away."""

from __future__ import annotations


class Backoff:
    """Pauses that double from the shortest to the longest, until a try succeeds. In seconds."""

    def __init__(self, *, min_seconds: float, max_seconds: float) -> None:
        self._min_seconds = min_seconds
        self._max_seconds = max_seconds
        self._next_seconds = min_seconds

    def next_pause(self) -> float:
        """Return how long to wait before the next try."""
        pause = self._next_seconds
        self._next_seconds = min(pause * 2, self._max_seconds)
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again, after a success."""
        self._next_seconds = self._min_seconds
