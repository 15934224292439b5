"""The relay: claims what is due, fairly, and puts it into the queue; takes back what lapsed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from delivery import metrics
from delivery.dispatch.claims import ClaimTerms, claim
from delivery.errors import Unavailable
from delivery.ledger import claiming
from delivery.ledger.listening import Listener
from delivery.model import Lane
from workers.lines import Line
from workers.share import Share
from workers.window import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any, Protocol

    from delivery.dispatch.claims import Begun, Claimed
    from delivery.ledger import Ledger, Transaction
    from delivery.model import ClaimId, EndpointId, TenantId
    from workers.broker import Publisher
    from workers.upkeep import Upkeep

    class InThread(Protocol):
        """Runs what uses the broker on the one thread that its connections belong to."""

        async def __call__(self, work: Callable[[], T], /) -> T:
            """Run it there, and return what it returned."""

    Side = Callable[[InThread], Coroutine[Any, Any, None]]

log = structlog.get_logger()

T = TypeVar("T")

# Between two claims: hardly any when little comes, longer the more came last time, so that a batch gathers.
SHORTEST_GAP, LONG_GAP = 0.005, 0.05
GAP_FOR_EACH = 0.002
# Where hundreds come each time and none has to stay behind, a yet longer one saves claims and messages.
LONGEST_GAP, GAP_FOR_EACH_OF_MANY = 0.1, 0.0005
GAP_WITHOUT_WORK, GAP_WITHOUT_ROOM = 0.02, 0.05
# A scan may take this share of the relay's time: with very many endpoints it comes less often.
SCAN_SHARE = 0.05
# What takes longer than that no longer keeps other replays from being sent.
SLOW = timedelta(seconds=2)
RESCUE_SECONDS = 1.0
BEAT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the relay looks unasked, how much time's worth of work it queues, how long that may wait.

    `in_flight` is how many deliveries an endpoint may have on their way that has no limit of its own,
    `replay_share` what replays get at most of the queue while live work waits.
    """

    poll: timedelta
    window: timedelta
    queue_lease: timedelta
    in_flight: int
    replay_share: float = 0.2


class Relay:
    """One relay. Any number may run: what one takes, the others skip."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        upkeep: Upkeep,
        pace: Pace,
        *,
        replays: Publisher | None = None,
        sides: Sequence[Side] = (),
    ) -> None:
        """Nothing runs until `run`. `replays` is where claims of replays go; without it there are none.

        `sides` run beside the relay for as long as it does, with `run` told how to use the broker's thread.
        """
        self._ledger = ledger
        self._upkeep = upkeep
        self._pace = pace
        self._sides = sides
        self._live = self._line(Lane.LIVE, publisher)
        self._replays = None if replays is None else self._line(Lane.REPLAY, replays)
        self._share = Share(pace.replay_share)
        # One thread, because the broker's connections belong to threads.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        self._woken = asyncio.Event()
        self._next_scan = 0.0
        self._next_claim = 0.0
        self._pause = 0.0
        self._stopping = False

    def stop(self) -> None:
        """End `run` once what is claimed is in the queue or handed back."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until stopped. Outages of the ledger or the broker are waited out, other faults end it."""
        try:
            async with asyncio.TaskGroup() as group:
                own = (self._listen(), self._rescue(), self._beat(), self._keep_up())
                others = (side(self._in_thread) for side in self._sides)
                sides = [group.create_task(side) for side in (*own, *others)]
                await self._work()
                for side in sides:
                    side.cancel()
        finally:
            self._thread.shutdown(wait=True)

    # What is due: heard, or found by looking.

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                listener = await Listener.open(self._ledger)
                pause = _FIRST_PAUSE
                try:
                    self._look_again()
                    async for lane, endpoints in listener.heard():
                        self._hear(lane, endpoints)
                finally:
                    await listener.close()
            except Unavailable as error:
                log.warning("relay.deaf", why=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _hear(self, lane: Lane, endpoints: set[tuple[TenantId, EndpointId]]) -> None:
        log.debug("relay.heard", lane=lane.name, endpoints=len(endpoints))
        if not endpoints:
            self._look_again()
            return
        for line in self._lines:
            if line.terms.lane is lane:
                line.hear(endpoints)
                self._woken.set()

    def _look_again(self) -> None:
        self._next_scan = 0.0
        self._woken.set()

    async def _scan(self) -> None:
        """Find every endpoint with something due, and when to look next."""
        began = _now()
        self._next_scan = planned = began + self._pace.poll.total_seconds()
        async with self._ledger.transaction() as tx:
            for line in self._lines:
                heads = await claiming.ready(tx, lane=line.terms.lane)
                line.backlog.note(
                    (head.tenant_id, head.endpoint_id) for head in heads if head.due and not head.deleted
                )
                self._upkeep.bury([head.endpoint_id for head in heads if head.deleted])
        if self._next_scan == planned:  # Nobody asked for another look while we were looking.
            self._next_scan = max(planned, began + (_now() - began) / SCAN_SHARE)

    # From due to queued.

    async def _work(self) -> None:
        while not self._stopping:
            await self._rest()
            for line in self._lines:
                line.gather(_now())
            try:
                if _now() >= self._next_scan:
                    await self._scan()
                if self._is_due and not await self._is_clogged():
                    began = _now()
                    room = await self._look()
                    claimed = await self._claim() if room else []
                    if claimed:
                        metrics.took("claim", _now() - began)
                    taken = sum(taken for _, _, taken in claimed)
                    self._next_claim = began + gap_after(taken, room=room, more=self._is_due)
                    for line, claims, taken in claimed:
                        log.debug("relay.claimed", lane=line.terms.lane.name, deliveries=taken)
                        metrics.claimed(line.terms.lane.name, taken)
                        await self._publish(line, claims)
                self._pause = 0.0
                metrics.looked(time())
            except Unavailable as error:
                self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
                self._next_scan = 0.0
                log.warning("relay.waiting", why=str(error), seconds=self._pause)

    async def _rest(self) -> None:
        """Sleep until there may be something to do."""
        if self._pause:
            await asyncio.sleep(self._pause)
            return
        if not self._is_due:
            try:
                next_look = min(self._next_scan, *(line.backlog.next_at for line in self._lines))
                await asyncio.wait_for(self._woken.wait(), timeout=max(0.0, next_look - _now()))
            except TimeoutError:
                return
            finally:
                self._woken.clear()
        await asyncio.sleep(max(0.0, self._next_claim - _now()))

    async def _claim(self) -> list[tuple[Line, Sequence[ClaimId], int]]:
        """Claim what there is room for, live work first; of each line the claims, and how many they hold."""
        async with self._ledger.transaction() as tx:
            live, replays = self._live, self._replays
            queued = live.window.waiting > 0
            claims, taken = await self._claim_of(tx, live, live.window.room)
            found: list[tuple[Line, Sequence[ClaimId], int]] = [(live, claims, taken)]
            # What no worker has started waits too, whichever relay has queued it.
            self._share = self._share.after_live(taken, waits=queued or bool(live.backlog), at=_now())
            if replays is not None and replays.backlog:
                room = await self._room_for_replays(tx, replays)
                claims, taken = await self._claim_of(tx, replays, room)
                self._share = self._share.used(taken)
                found.append((replays, claims, taken))
        return found

    async def _look(self) -> bool:
        """See what stands in the queue; whether there is room for more of what is due."""
        async with self._ledger.at_once() as door:
            for line in self._lines:
                if line is self._live or line.backlog:
                    line.look(await claiming.unstarted(door, lane=line.terms.lane), now=_now())
        for line in self._lines:
            metrics.window(line.terms.lane.name, waiting=line.window.waiting, limit=line.window.target)
        if any(line.backlog and line.window.room > 0 for line in self._lines):
            return True
        waits = self._live.window.waiting > 0 or bool(self._live.backlog)
        self._share = self._share.after_live(0, waits=waits, at=_now())
        return False

    async def _room_for_replays(self, tx: Transaction, replays: Line) -> int:
        room = self._share.allowed(replays.window.room)
        if not self._share.is_beside_live(_now()):
            return room
        in_work = await claiming.in_work(tx, lane=Lane.REPLAY, lately=SLOW)
        return min(room, max(0, self._share.at_once(replays.window.work) - in_work))

    async def _claim_of(self, tx: Transaction, line: Line, room: int) -> tuple[list[ClaimId], int]:
        claims: dict[ClaimId, None] = {}
        last: Begun | None = None
        taken = 0
        while line.backlog and taken < room:
            claimed = await self._take(tx, line, room - taken, last)
            claims |= dict.fromkeys(claimed.claims)
            last = claimed.last
            taken += claimed.size
        return list(claims), taken

    async def _take(self, tx: Transaction, line: Line, room: int, begun: Begun | None) -> Claimed:
        """One round: everybody whose turn it is gets a share of the room; who had less leaves the backlog."""
        quotas = line.backlog.share(room)
        claimed = await claim(tx, quotas, line.terms, begun=begun)
        line.served(quotas, claimed, now=_now(), soon=self._pace.poll.total_seconds())
        return claimed

    async def _publish(self, line: Line, claims: Sequence[ClaimId]) -> None:
        if not claims:
            return
        began = _now()
        unconfirmed = await self._in_thread(lambda: line.publisher.publish(claims))
        metrics.took("publish", _now() - began)
        metrics.published(line.terms.lane.name, len(claims) - len(unconfirmed))
        if unconfirmed:
            async with self._ledger.transaction() as tx:
                await claiming.hand_back(tx, unconfirmed)
            raise Unavailable("RabbitMQ does not take messages.")
        log.debug("relay.published", lane=line.terms.lane.name, claims=len(claims))

    async def _is_clogged(self) -> bool:
        """Whether claims came back from a queue that nobody reads, and more would only pile up there."""
        for line in self._lines:
            if line.clogged:
                line.clogged = await self._in_thread(line.publisher.waiting) > 0
        clogged = any(line.clogged for line in self._lines)
        if clogged:
            await asyncio.sleep(_FIRST_PAUSE)
        return clogged

    @property
    def _lines(self) -> tuple[Line, ...]:
        return (self._live,) if self._replays is None else (self._live, self._replays)

    @property
    def _is_due(self) -> bool:
        return any(line.backlog for line in self._lines)

    def _line(self, lane: Lane, publisher: Publisher) -> Line:
        terms = ClaimTerms(lane, BATCH, self._pace.queue_lease, self._pace.in_flight)
        return Line(terms, publisher, seconds=self._pace.window.total_seconds())

    # At the side: leases, heartbeats, upkeep.

    async def _rescue(self) -> None:
        while True:
            try:
                async with self._ledger.transaction() as tx:
                    rescued = await claiming.rescue(tx)
            except Unavailable:  # the main loop says so already
                rescued = claiming.Rescued(0, 0)
            if rescued.deliveries:
                metrics.rescued(rescued.deliveries)
                log.warning("relay.rescued", deliveries=rescued.deliveries, unstarted=rescued.unstarted)
                for line in self._lines:
                    line.clogged = line.clogged or rescued.unstarted > 0
                self._look_again()
            else:
                await asyncio.sleep(RESCUE_SECONDS)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._in_thread(self._live.publisher.beat)

    async def _keep_up(self) -> None:
        await self._upkeep.run()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def gap_after(taken: int, *, room: bool, more: bool) -> float:
    """How many seconds to let pass between two claims, when the first took so many, or found no room. Pure.

    `more`: something that was due did not get in, and waits already.
    """
    if not room:
        return GAP_WITHOUT_ROOM
    if not taken:
        return GAP_WITHOUT_WORK
    gap = min(LONG_GAP, max(SHORTEST_GAP, taken * GAP_FOR_EACH))
    return gap if more else max(gap, min(LONGEST_GAP, taken * GAP_FOR_EACH_OF_MANY))


def _now() -> float:
    return asyncio.get_running_loop().time()
