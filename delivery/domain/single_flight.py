"""Lookups shared by concurrent callers, and a bounded dict for their results.

It is in `domain` because several packages share lookups: names (`destinations`), tokens
(`destinations.http`), schemas (`pipeline`) and API keys (`services`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict that drops the entry written longest ago when it would grow beyond `max_entries`."""

    def __init__(self, max_entries: int) -> None:
        super().__init__()
        self._max_entries = max_entries

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._max_entries:
            self.popitem(last=False)


class SingleFlight(Generic[K, V]):
    """Runs at most one lookup per key: callers that come while it runs wait for the same result.

    Results are not kept; a lookup stores what it found where its owner keeps it.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, look_up: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return the result of the running lookup, or start one; its error is raised to all its callers."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(look_up())
            task.add_done_callback(lambda done: self._on_done(key, done))
        # Shielded: a caller that is cancelled must not cancel the lookup under the others.
        return await asyncio.shield(task)

    def forget(self, key: K) -> None:
        """Make the next caller start a new lookup; the running one still returns to its callers."""
        self._running.pop(key, None)

    def is_current(self, key: K) -> bool:
        """Whether the calling lookup has not been forgotten, so that its result may be cached."""
        return self._running.get(key) is asyncio.current_task()

    async def wait_until_idle(self) -> None:
        """Wait for the running lookups."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def aclose(self) -> None:
        """Cancel the running lookups."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_done(self, key: K, task: asyncio.Task[V]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        # asyncio reports an exception that nobody retrieved, which it is when every caller was cancelled.
        if not task.cancelled():
            task.exception()
