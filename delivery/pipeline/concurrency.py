"""How many requests one process may have in flight, and how slow ones make room for others."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class GateClosed(Exception):
    """The process is stopping: nothing more starts."""


class Gate:
    """Counts requests in flight: fresh ones, and all of them.

    A request that is not over after `detach` counts as slow: it leaves the fresh ones, so that an endpoint
    which never answers does not take the places of those that do. All together stay below `most`.
    """

    def __init__(self, *, fresh: int, most: int, detach: timedelta) -> None:
        """Start empty and open."""
        self._fresh_room = fresh
        self._for_live = fresh // 2
        self._room = most
        self._detach = detach.total_seconds()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._replays: deque[asyncio.Future[None]] = deque()
        self._closed = False
        # In the order in which they turn slow, since all of them do after the same time: one timer will do.
        self._places: deque[Place] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether more may start."""
        return self._fresh_room > 0 and self._room > 0

    @property
    def is_open_to_replays(self) -> bool:
        """Whether replays may start: half of the fresh places are left to live work, which goes first."""
        return self.is_open and not self._waiting and self._fresh_room > self._for_live

    async def opened(self, *, replays: bool = False) -> None:
        """Return once more may start; raises GateClosed when the process stops first."""
        line = self._replays if replays else self._waiting
        while not (self.is_open_to_replays if replays else self.is_open) and not self._closed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line.append(turn)
            await turn
        if self._closed:
            raise GateClosed

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        for turn in (*self._waiting, *self._replays):
            if not turn.done():
                turn.set_result(None)

    def enter(self) -> Place:
        """Take a place. One claim may take a few more than there were: it was opened as a whole."""
        self._fresh_room -= 1
        self._room -= 1
        place = Place(self, asyncio.get_running_loop().time() + self._detach)
        self._places.append(place)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._detach, self._turn_slow)
        return place

    def _turn_slow(self) -> None:
        """Detach those whose time has come, and look again when the next one's comes."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._places and (self._places[0].left or self._places[0].slow_at <= loop.time()):
            place = self._places.popleft()
            if not place.left:
                place.detach()
        if self._places:
            self._timer = loop.call_at(self._places[0].slow_at, self._turn_slow)

    def _give(self, *, fresh: int, room: int) -> None:
        self._fresh_room += fresh
        self._room += room
        self.wake()

    def wake(self) -> None:
        """Let the next one in if there is room: also for one who was let in and then took no place."""
        while self._waiting and self.is_open:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        while self._replays and self.is_open_to_replays:
            turn = self._replays.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class Place:
    """One request's place in the gate, until it is left; from `slow_at` on it counts as slow."""

    __slots__ = ("_fresh", "_gate", "left", "slow_at")

    def __init__(self, gate: Gate, slow_at: float) -> None:
        """Count as fresh until it is detached; `slow_at` is by the loop's clock."""
        self._gate = gate
        self._fresh = True
        self.slow_at = slow_at
        self.left = False

    def detach(self) -> None:
        """Count as slow from now on."""
        self._fresh = False
        self._gate._give(fresh=1, room=0)  # noqa: SLF001  a place is part of its gate

    def leave(self) -> None:
        """Give the place back."""
        self.left = True
        self._gate._give(fresh=int(self._fresh), room=1)  # noqa: SLF001  a place is part of its gate
