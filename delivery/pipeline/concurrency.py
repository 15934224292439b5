"""How many requests one process may have in flight, and how slow ones make room for others."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class LimiterClosed(Exception):
    """The process is stopping: nothing more starts."""


class ConcurrencyLimiter:
    """Counts requests in flight: fresh ones, and all of them.

    A request that is not over after `detach` counts as slow: it leaves the fresh ones, so that an endpoint
    which never answers does not take the places of those that do. All together stay below `most`.
    """

    def __init__(self, *, max_fresh: int, max_total: int, slow_after: timedelta) -> None:
        """Start empty and open."""
        self._free_fresh_slots = max_fresh
        self._reserved_for_live = max_fresh // 2
        self._free_slots = max_total
        self._slow_after_seconds = slow_after.total_seconds()
        self._waiting_live: deque[asyncio.Future[None]] = deque()
        self._waiting_replays: deque[asyncio.Future[None]] = deque()
        self._closed = False
        # In the order in which they turn slow, since all of them do after the same time: one timer will do.
        self._slots: deque[Slot] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether more may start."""
        return self._free_fresh_slots > 0 and self._free_slots > 0

    @property
    def is_open_to_replays(self) -> bool:
        """Whether replays may start: half of the fresh places are left to live work, which goes first."""
        return self.is_open and not self._waiting_live and self._free_fresh_slots > self._reserved_for_live

    async def wait_until_open(self, *, replays: bool = False) -> None:
        """Return once more may start; raises GateClosed when the process stops first."""
        line = self._waiting_replays if replays else self._waiting_live
        while not (self.is_open_to_replays if replays else self.is_open) and not self._closed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line.append(turn)
            await turn
        if self._closed:
            raise LimiterClosed

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        for turn in (*self._waiting_live, *self._waiting_replays):
            if not turn.done():
                turn.set_result(None)

    def acquire_slot(self) -> Slot:
        """Take a place. One claim may take a few more than there were: it was opened as a whole."""
        self._free_fresh_slots -= 1
        self._free_slots -= 1
        place = Slot(self, asyncio.get_running_loop().time() + self._slow_after_seconds)
        self._slots.append(place)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                self._slow_after_seconds, self._detach_slow_slots
            )
        return place

    def _detach_slow_slots(self) -> None:
        """Detach those whose time has come, and look again when the next one's comes."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._slots and (self._slots[0].is_released or self._slots[0].slow_at <= loop.time()):
            place = self._slots.popleft()
            if not place.is_released:
                place.mark_slow()
        if self._slots:
            self._timer = loop.call_at(self._slots[0].slow_at, self._detach_slow_slots)

    def _return_slots(self, *, fresh: int, room: int) -> None:
        self._free_fresh_slots += fresh
        self._free_slots += room
        self.wake_next()

    def wake_next(self) -> None:
        """Let the next one in if there is room: also for one who was let in and then took no place."""
        while self._waiting_live and self.is_open:
            turn = self._waiting_live.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        while self._waiting_replays and self.is_open_to_replays:
            turn = self._waiting_replays.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class Slot:
    """One request's place in the gate, until it is left; from `slow_at` on it counts as slow."""

    __slots__ = ("_is_fresh", "_limiter", "is_released", "slow_at")

    def __init__(self, limiter: ConcurrencyLimiter, slow_at: float) -> None:
        """Count as fresh until it is detached; `slow_at` is by the loop's clock."""
        self._limiter = limiter
        self._is_fresh = True
        self.slow_at = slow_at
        self.is_released = False

    def mark_slow(self) -> None:
        """Count as slow from now on."""
        self._is_fresh = False
        self._limiter._return_slots(fresh=1, room=0)  # noqa: SLF001  a place is part of its gate

    def release(self) -> None:
        """Give the place back."""
        self.is_released = True
        self._limiter._return_slots(fresh=int(self._is_fresh), room=1)  # noqa: SLF001  a place is part of its gate
