"""The relay: claims what is due, fairly, and puts it into the queue; takes back what lapsed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from delivery.dispatch.claims import ClaimTerms, claim
from delivery.errors import Unavailable
from delivery.ledger import claiming
from delivery.ledger.listening import Listener
from delivery.model import Lane
from workers.backlog import Backlog
from workers.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from delivery.ledger import Ledger, Transaction
    from delivery.model import ClaimId, EndpointId, TenantId
    from workers.broker import Publisher
    from workers.upkeep import Upkeep

log = structlog.get_logger()

T = TypeVar("T")

BATCH = 100
# Between two claims: hardly any when little comes, longer the more came last time, so that a batch gathers.
SHORTEST_GAP, LONGEST_GAP = 0.005, 0.05
GAP_FOR_EACH = 0.001
GAP_WITHOUT_ROOM = 0.02
# A scan may take this share of the relay's time: with very many endpoints it comes less often.
SCAN_SHARE = 0.05
RESCUE_SECONDS = 1.0
BEAT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the relay looks unasked, how much time's worth of work it queues, how long that may wait.

    `in_flight` is how many deliveries an endpoint may have on their way that has no limit of its own.
    """

    poll: timedelta
    window: timedelta
    queue_lease: timedelta
    in_flight: int


class Relay:
    """One relay. Any number may run: what one takes, the others skip."""

    def __init__(self, ledger: Ledger, publisher: Publisher, upkeep: Upkeep, pace: Pace) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._publisher = publisher
        self._upkeep = upkeep
        self._pace = pace
        self._terms = ClaimTerms(Lane.LIVE, BATCH, pace.queue_lease, pace.in_flight)
        # One thread, because the broker's connections belong to threads.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        self._backlog = Backlog()
        # Kept apart until the next claim: one that is under way did not see what is heard of only now, and
        # would drop the endpoint from the backlog when it ends.
        self._heard: set[tuple[TenantId, EndpointId]] = set()
        self._window = Window(pace.window.total_seconds())
        self._woken = asyncio.Event()
        self._next_scan = 0.0
        self._next_claim = 0.0
        self._pause = 0.0
        self._clogged = False
        self._stopping = False

    def stop(self) -> None:
        """End `run` once what is claimed is in the queue or handed back."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until stopped. Outages of the ledger or the broker are waited out, other faults end it."""
        try:
            async with asyncio.TaskGroup() as group:
                sides = [
                    group.create_task(side)
                    for side in (self._listen(), self._rescue(), self._beat(), self._keep_up())
                ]
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
                    async for endpoints in listener.heard():
                        self._hear(endpoints)
                finally:
                    await listener.close()
            except Unavailable as error:
                log.warning("relay.deaf", why=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _hear(self, endpoints: set[tuple[TenantId, EndpointId]]) -> None:
        if endpoints:
            self._heard |= endpoints
            self._woken.set()
        else:
            self._look_again()

    def _look_again(self) -> None:
        self._next_scan = 0.0
        self._woken.set()

    async def _scan(self) -> None:
        """Find every endpoint with something due, and when to look next."""
        began = _now()
        self._next_scan = planned = began + self._pace.poll.total_seconds()
        async with self._ledger.transaction() as tx:
            heads = await claiming.ready(tx, lane=Lane.LIVE)
        self._backlog.note(
            (head.tenant_id, head.endpoint_id) for head in heads if head.due and not head.deleted
        )
        self._upkeep.bury([head.endpoint_id for head in heads if head.deleted])
        if self._next_scan == planned:  # Nobody asked for another look while we were looking.
            self._next_scan = max(planned, began + (_now() - began) / SCAN_SHARE)

    # From due to queued.

    async def _work(self) -> None:
        while not self._stopping:
            await self._rest()
            self._backlog.note(self._heard)
            self._heard.clear()
            self._backlog.ripen(_now())
            try:
                if _now() >= self._next_scan:
                    await self._scan()
                if self._backlog and not await self._is_clogged():
                    began = _now()
                    claims, taken = await self._claim()
                    self._next_claim = began + gap_after(taken)
                    await self._publish(claims)
                self._pause = 0.0
            except Unavailable as error:
                self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
                self._next_scan = 0.0
                log.warning("relay.waiting", why=str(error), seconds=self._pause)

    async def _rest(self) -> None:
        """Sleep until there may be something to do."""
        if self._pause:
            await asyncio.sleep(self._pause)
            return
        if not self._backlog:
            try:
                next_look = min(self._next_scan, self._backlog.next_at)
                await asyncio.wait_for(self._woken.wait(), timeout=max(0.0, next_look - _now()))
            except TimeoutError:
                return
            finally:
                self._woken.clear()
        await asyncio.sleep(max(0.0, self._next_claim - _now()))

    async def _claim(self) -> tuple[list[ClaimId], int]:
        """Claim what there is room for; returns the claims, and how many deliveries they hold."""
        claims: list[ClaimId] = []
        async with self._ledger.transaction() as tx:
            waiting = await claiming.unstarted(tx, lane=Lane.LIVE)
            self._window = self._window.seen(waiting, at=_now())
            before = self._window.waiting
            while self._backlog and self._window.room:
                claims += await self._take(tx)
        return claims, self._window.waiting - before

    async def _take(self, tx: Transaction) -> Sequence[ClaimId]:
        """One round: everybody whose turn it is gets a share of the room; who had less leaves the backlog."""
        quotas = self._backlog.share(self._window.room)
        claimed = await claim(tx, quotas, self._terms)
        # What is held for longer than that, the scan finds when its time has come.
        soon = {e: s for e, s in claimed.later.items() if s <= self._pace.poll.total_seconds()}
        self._backlog.served(quotas, claimed.by_endpoint, {e: _now() + s for e, s in soon.items()})
        self._window = self._window.added(claimed.size)
        return claimed.claims

    async def _publish(self, claims: Sequence[ClaimId]) -> None:
        if not claims:
            return
        unconfirmed = await self._in_thread(lambda: self._publisher.publish(claims))
        if unconfirmed:
            async with self._ledger.transaction() as tx:
                await claiming.hand_back(tx, unconfirmed)
            raise Unavailable("RabbitMQ does not take messages.")

    async def _is_clogged(self) -> bool:
        """Whether claims came back from a queue that nobody reads, and more would only pile up there."""
        if self._clogged:
            self._clogged = await self._in_thread(self._publisher.waiting) > 0
            if self._clogged:
                await asyncio.sleep(_FIRST_PAUSE)
        return self._clogged

    # At the side: leases, heartbeats, upkeep.

    async def _rescue(self) -> None:
        while True:
            try:
                async with self._ledger.transaction() as tx:
                    rescued = await claiming.rescue(tx)
            except Unavailable:  # the main loop says so already
                rescued = claiming.Rescued(0, 0)
            if rescued.deliveries:
                log.warning("relay.rescued", deliveries=rescued.deliveries, unstarted=rescued.unstarted)
                self._clogged = self._clogged or rescued.unstarted > 0
                self._look_again()
            else:
                await asyncio.sleep(RESCUE_SECONDS)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._in_thread(self._publisher.beat)

    async def _keep_up(self) -> None:
        await self._upkeep.run()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def gap_after(taken: int) -> float:
    """How many seconds to let pass between two claims, when the first took so many."""
    return min(LONGEST_GAP, max(SHORTEST_GAP, taken * GAP_FOR_EACH)) if taken else GAP_WITHOUT_ROOM


def _now() -> float:
    return asyncio.get_running_loop().time()
