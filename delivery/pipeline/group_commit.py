"""Group commit: items that arrive together share a transaction, and each caller gets its own outcome."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """How items are grouped. An item has a count, one unless it says otherwise, and a size in bytes.

    A group holds `max_count` and `max_bytes` at most, but always one item. One that is not full waits
    `gather_seconds` for others before it is committed.

    While a commit runs, another one starts beside it, up to `max_concurrent`, as soon as `eager_count` or
    `eager_bytes` wait for it, or an item has waited for `linger_seconds`.
    """

    max_count: int
    max_bytes: int = sys.maxsize
    gather_seconds: float = 0.0
    max_concurrent: int = 1
    eager_count: int = 0
    eager_bytes: int = 0
    linger_seconds: float = 0.0


# Value, count, size, and the future of its outcome; a plain tuple, since one is made for every request.
_Item = tuple[T, int, int, asyncio.Future[R]]


class GroupCommit(Generic[T, R]):
    """Commits submitted items in groups, in tasks that run only while something waits."""

    def __init__(
        self, commit: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], limits: GroupLimits
    ) -> None:
        """Take what commits a group: it returns an outcome for each item, in order, or raises.

        Unavailable fails the whole group. Any other error may be one item's fault: each is committed alone.
        """
        self._commit = commit
        self._limits = limits
        self._waiting: deque[_Item[T, R]] = deque()
        self._waiting_count = 0
        self.waiting_bytes = 0
        self._committing = 0
        self._committers: set[asyncio.Task[None]] = set()
        self._linger_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many items wait for a commit."""
        return len(self._waiting)

    def submit(self, value: T, *, count: int = 1, size: int = 0) -> asyncio.Future[R]:
        """Add an item to the next group; the future has its outcome once it is committed.

        Cancelling the future does not withdraw the item.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((value, count, size, future))
        self._waiting_count += count
        self.waiting_bytes += size
        limits = self._limits
        is_worth_a_commit = (
            self._waiting_count >= limits.eager_count or self.waiting_bytes >= limits.eager_bytes
        )
        if self._committing == 0 or is_worth_a_commit:
            self._start_committer()
        elif self._linger_timer is None and self._committing < limits.max_concurrent:
            self._linger_timer = loop.call_later(limits.linger_seconds, self._on_linger_over)
        return future

    async def drain(self, grace: timedelta) -> None:
        """Wait until all items are committed, including those of cancelled callers."""
        if self._committers:
            await asyncio.wait(self._committers, timeout=grace.total_seconds())

    def _on_linger_over(self) -> None:
        self._linger_timer = None
        if self._waiting:
            self._start_committer()

    def _start_committer(self) -> None:
        if self._committing < self._limits.max_concurrent:
            self._committing += 1
            committer = asyncio.create_task(self._commit_waiting())
            self._committers.add(committer)
            committer.add_done_callback(self._committers.discard)

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                if self._limits.gather_seconds and self._waiting_count < self._limits.max_count:
                    await asyncio.sleep(self._limits.gather_seconds)
                await self._commit_group(self._take_group())
        finally:
            # Not in the task's callback: an item submitted before that ran would wait forever.
            self._committing -= 1

    def _take_group(self) -> list[_Item[T, R]]:
        """Take the items that fit into one group, and at least one."""
        limits = self._limits
        group: list[_Item[T, R]] = []
        group_count = group_size = 0
        while self._waiting:
            _, count, size, _ = self._waiting[0]
            group_count += count
            group_size += size
            is_full = group_count > limits.max_count or group_size > limits.max_bytes
            if group and is_full:
                break
            group.append(self._waiting.popleft())
            self._waiting_count -= count
            self.waiting_bytes -= size
        return group

    async def _commit_group(self, group: list[_Item[T, R]]) -> None:
        outcomes: Sequence[R | Exception]
        try:
            outcomes = await self._commit([value for value, *_ in group])
        except Unavailable as error:
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001  any error must reach the item's caller
            if len(group) > 1:
                for item in group:
                    await self._commit_group([item])
                return
            outcomes = [error]
        for (*_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():  # its caller was cancelled; the item is committed nevertheless
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
