"""Limits the requests that one process has in flight, and lets slow ones make room for others."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class LimiterClosed(Exception):
    """The process is stopping: no new request may start."""


class ConcurrencyLimiter:
    """Limits the requests in flight: fresh ones, and all of them.

    After `slow_after` a request counts as slow and frees its fresh slot, so that endpoints that never answer
    do not take the slots of those that do. All requests together stay below `max_total`.
    """

    def __init__(self, *, max_fresh: int, max_total: int, slow_after: timedelta) -> None:
        self._free_fresh_slots = max_fresh
        self._reserved_for_live = max_fresh // 2
        self._free_slots = max_total
        self._slow_after_seconds = slow_after.total_seconds()
        self._waiting_live: deque[asyncio.Future[None]] = deque()
        self._waiting_replays: deque[asyncio.Future[None]] = deque()
        self._closed = False
        # In the order in which they become slow, all after the same time, so that one timer is enough.
        self._slots: deque[Slot] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether another request may start."""
        return self._free_fresh_slots > 0 and self._free_slots > 0

    @property
    def is_open_to_replays(self) -> bool:
        """Whether a replay may start: half of the fresh slots are for live work, which goes first."""
        return self.is_open and not self._waiting_live and self._free_fresh_slots > self._reserved_for_live

    async def wait_until_open(self, *, replays: bool = False) -> None:
        """Return once another request may start; raises LimiterClosed when the process stops first."""
        queue = self._waiting_replays if replays else self._waiting_live
        while not (self.is_open_to_replays if replays else self.is_open) and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(waiter)
            await waiter
        if self._closed:
            raise LimiterClosed

    def close(self) -> None:
        """Refuse new requests, and wake all waiting callers."""
        self._closed = True
        for waiter in (*self._waiting_live, *self._waiting_replays):
            if not waiter.done():
                waiter.set_result(None)

    def acquire_slot(self) -> Slot:
        """Take a slot. A claim is admitted as a whole, so it may take a few more than are free."""
        self._free_fresh_slots -= 1
        self._free_slots -= 1
        slot = Slot(self, asyncio.get_running_loop().time() + self._slow_after_seconds)
        self._slots.append(slot)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                self._slow_after_seconds, self._detach_slow_slots
            )
        return slot

    def _detach_slow_slots(self) -> None:
        """Mark the slots that are slow by now, and set the timer for the next one."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._slots and (self._slots[0].is_released or self._slots[0].slow_at <= loop.time()):
            slot = self._slots.popleft()
            if not slot.is_released:
                slot.mark_slow()
        if self._slots:
            self._timer = loop.call_at(self._slots[0].slow_at, self._detach_slow_slots)

    def _return_slots(self, *, fresh: int, room: int) -> None:
        self._free_fresh_slots += fresh
        self._free_slots += room
        self.wake_next()

    def wake_next(self) -> None:
        """Wake the next waiting caller if there is room, or if one was woken and took no slot."""
        while self._waiting_live and self.is_open:
            waiter = self._waiting_live.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        while self._waiting_replays and self.is_open_to_replays:
            waiter = self._waiting_replays.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Slot:
    """The slot of one request; it counts as slow from `slow_at` on (on the loop's clock)."""

    __slots__ = ("_is_fresh", "_limiter", "is_released", "slow_at")

    def __init__(self, limiter: ConcurrencyLimiter, slow_at: float) -> None:
        self._limiter = limiter
        self._is_fresh = True
        self.slow_at = slow_at
        self.is_released = False

    def mark_slow(self) -> None:
        """Count as slow, and free the fresh slot."""
        self._is_fresh = False
        self._limiter._return_slots(fresh=1, room=0)  # noqa: SLF001  a slot is part of its limiter

    def release(self) -> None:
        """Free the slot."""
        self.is_released = True
        self._limiter._return_slots(fresh=int(self._is_fresh), room=1)  # noqa: SLF001  a slot is part of its limiter
