"""The relay: claims what is due, fairly, and puts it into the queue; takes back what lapsed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from delivery.domain.delivery import Priority
from delivery.domain.errors import Unavailable
from delivery.ledger.queue import claims as claiming
from delivery.ledger.queue.notifications import NotificationListener
from delivery.pipeline.claiming import ClaimConfig, claim_deliveries
from delivery.telemetry import metrics
from workers.relay.lane import RelayQueue
from workers.relay.replay_budget import ReplayBudget
from workers.relay.window import CLAIM_BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any, Protocol

    from delivery.domain.ids import ClaimId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.pipeline.claiming import ClaimRound, OpenClaim
    from workers.broker.broker import Publisher
    from workers.tasks.maintenance import MaintenanceLoop

    class RunInBrokerThread(Protocol):
        """Runs what uses the broker on the one thread that its connections belong to."""

        async def __call__(self, work: Callable[[], T], /) -> T:
            """Run it there, and return what it returned."""

    BackgroundLoop = Callable[[RunInBrokerThread], Coroutine[Any, Any, None]]

log = structlog.get_logger()

T = TypeVar("T")

# Between two claims: hardly any when little comes, longer the more came last time, so that a batch gathers.
MIN_GAP_SECONDS, MAX_BUSY_GAP_SECONDS = 0.005, 0.05
GAP_PER_DELIVERY_SECONDS = 0.002
# Where hundreds come each time and none has to stay behind, a yet longer one saves claims and messages.
MAX_GAP_SECONDS, BULK_GAP_PER_DELIVERY_SECONDS = 0.1, 0.0005
IDLE_GAP_SECONDS, FULL_GAP_SECONDS = 0.02, 0.05
# A scan may take this share of the relay's time: with very many endpoints it comes less often.
MAX_SCAN_SHARE = 0.05
# What takes longer than that no longer keeps other replays from being sent.
SLOW_AFTER = timedelta(seconds=2)
RESCUE_INTERVAL_SECONDS = 1.0
HEARTBEAT_INTERVAL_SECONDS = 5.0
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """How often the relay looks unasked, how much time's worth of work it queues, how long that may wait.

    `in_flight` is how many deliveries an endpoint may have on their way that has no limit of its own,
    `replay_share` what replays get at most of the queue while live work waits.
    """

    poll_interval: timedelta
    window: timedelta
    queue_lease: timedelta
    default_max_in_flight: int
    replay_share: float = 0.2


class Relay:
    """One relay. Any number may run: what one takes, the others skip."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        maintenance: MaintenanceLoop,
        config: RelayConfig,
        *,
        replay_publisher: Publisher | None = None,
        background_loops: Sequence[BackgroundLoop] = (),
    ) -> None:
        """Nothing runs until `run`. `replays` is where claims of replays go; without it there are none.

        `sides` run beside the relay for as long as it does, with `run` told how to use the broker's thread.
        """
        self._ledger = ledger
        self._maintenance = maintenance
        self._config = config
        self._background_loops = background_loops
        self._live_queue = self._create_queue(Priority.LIVE, publisher)
        self._replay_queue = (
            None if replay_publisher is None else self._create_queue(Priority.REPLAY, replay_publisher)
        )
        self._replay_budget = ReplayBudget(config.replay_share)
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
                own = (self._listen(), self._rescue(), self._send_heartbeats(), self._run_maintenance())
                others = (side(self._run_in_thread) for side in self._background_loops)
                sides = [group.create_task(side) for side in (*own, *others)]
                await self._relay_until_stopped()
                for side in sides:
                    side.cancel()
        finally:
            self._thread.shutdown(wait=True)

    # What is due: heard, or found by looking.

    async def _listen(self) -> None:
        pause = _MIN_PAUSE_SECONDS
        while True:
            try:
                listener = await NotificationListener.open(self._ledger)
                pause = _MIN_PAUSE_SECONDS
                try:
                    self._request_scan()
                    async for lane, endpoints in listener.receive_notifications():
                        self._on_notification(lane, endpoints)
                finally:
                    await listener.close()
            except Unavailable as error:
                log.warning("relay.deaf", why=str(error), seconds=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    def _on_notification(self, priority: Priority, endpoints: set[tuple[TenantId, EndpointId]]) -> None:
        log.debug("relay.heard", lane=priority.name, endpoints=len(endpoints))
        if not endpoints:
            self._request_scan()
            return
        for line in self._queues:
            if line.config.priority is priority:
                line.add_notified(endpoints)
                self._woken.set()

    def _request_scan(self) -> None:
        self._next_scan = 0.0
        self._woken.set()

    async def _scan(self) -> None:
        """Find every endpoint with something due, and when to look next."""
        began = _now()
        self._next_scan = planned = began + self._config.poll_interval.total_seconds()
        async with self._ledger.transaction() as tx:
            for line in self._queues:
                heads = await claiming.find_ready_endpoints(tx, priority=line.config.priority)
                line.fair_queue.add_due(
                    (head.tenant_id, head.endpoint_id) for head in heads if head.due and not head.deleted
                )
                self._maintenance.schedule_cancellation([head.endpoint_id for head in heads if head.deleted])
        if self._next_scan == planned:  # Nobody asked for another look while we were looking.
            self._next_scan = max(planned, began + (_now() - began) / MAX_SCAN_SHARE)

    # From due to queued.

    async def _relay_until_stopped(self) -> None:
        while not self._stopping:
            await self._wait_for_work()
            for line in self._queues:
                line.merge_notified(_now())
            try:
                if _now() >= self._next_scan:
                    await self._scan()
                if self._has_due and not await self._is_clogged():
                    began = _now()
                    room = await self._measure_queues()
                    claimed = await self._claim() if room else []
                    if claimed:
                        metrics.observe_phase("claim", _now() - began)
                    taken = sum(taken for _, _, taken in claimed)
                    self._next_claim = began + compute_gap(taken, has_room=room, has_more=self._has_due)
                    for line, claims, taken in claimed:
                        log.debug("relay.claimed", lane=line.config.priority.name, deliveries=taken)
                        metrics.count_claimed(line.config.priority.name, taken)
                        await self._publish(line, claims)
                self._pause = 0.0
                metrics.set_relay_looked(time())
            except Unavailable as error:
                self._pause = min(max(_MIN_PAUSE_SECONDS, self._pause * 2), _MAX_PAUSE_SECONDS)
                self._next_scan = 0.0
                log.warning("relay.waiting", why=str(error), seconds=self._pause)

    async def _wait_for_work(self) -> None:
        """Sleep until there may be something to do."""
        if self._pause:
            await asyncio.sleep(self._pause)
            return
        if not self._has_due:
            try:
                next_look = min(self._next_scan, *(line.fair_queue.next_at for line in self._queues))
                await asyncio.wait_for(self._woken.wait(), timeout=max(0.0, next_look - _now()))
            except TimeoutError:
                return
            finally:
                self._woken.clear()
        await asyncio.sleep(max(0.0, self._next_claim - _now()))

    async def _claim(self) -> list[tuple[RelayQueue, Sequence[ClaimId], int]]:
        """Claim what there is room for, live work first; of each line the claims, and how many they hold."""
        async with self._ledger.transaction() as tx:
            live, replays = self._live_queue, self._replay_queue
            queued = live.window.waiting > 0
            claims, taken = await self._claim_from_queue(tx, live, live.window.room)
            found: list[tuple[RelayQueue, Sequence[ClaimId], int]] = [(live, claims, taken)]
            # What no worker has started waits too, whichever relay has queued it.
            self._replay_budget = self._replay_budget.record_live(
                taken, is_live_waiting=queued or bool(live.fair_queue), now=_now()
            )
            if replays is not None and replays.fair_queue:
                room = await self._compute_replay_room(tx, replays)
                claims, taken = await self._claim_from_queue(tx, replays, room)
                self._replay_budget = self._replay_budget.spend_credit(taken)
                found.append((replays, claims, taken))
        return found

    async def _measure_queues(self) -> bool:
        """See what stands in the queue; whether there is room for more of what is due."""
        async with self._ledger.autocommit() as door:
            for line in self._queues:
                if line is self._live_queue or line.fair_queue:
                    line.observe_waiting(
                        await claiming.count_queued(door, priority=line.config.priority), now=_now()
                    )
        for line in self._queues:
            metrics.set_window(
                line.config.priority.name, waiting=line.window.waiting, limit=line.window.target
            )
        if any(line.fair_queue and line.window.room > 0 for line in self._queues):
            return True
        waits = self._live_queue.window.waiting > 0 or bool(self._live_queue.fair_queue)
        self._replay_budget = self._replay_budget.record_live(0, is_live_waiting=waits, now=_now())
        return False

    async def _compute_replay_room(self, tx: Transaction, queue: RelayQueue) -> int:
        room = self._replay_budget.compute_allowed(queue.window.room)
        if not self._replay_budget.is_live_active(_now()):
            return room
        in_work = await claiming.count_in_progress(tx, priority=Priority.REPLAY, max_age=SLOW_AFTER)
        return min(
            room,
            max(0, self._replay_budget.compute_max_concurrent(queue.window.deliveries_per_window) - in_work),
        )

    async def _claim_from_queue(
        self, tx: Transaction, queue: RelayQueue, room: int
    ) -> tuple[list[ClaimId], int]:
        claims: dict[ClaimId, None] = {}
        last: OpenClaim | None = None
        taken = 0
        while queue.fair_queue and taken < room:
            claimed = await self._claim_round(tx, queue, room - taken, last)
            claims |= dict.fromkeys(claimed.claim_ids)
            last = claimed.open_claim
            taken += claimed.delivery_count
        return list(claims), taken

    async def _claim_round(
        self, tx: Transaction, queue: RelayQueue, room: int, open_claim: OpenClaim | None
    ) -> ClaimRound:
        """One round: everybody whose turn it is gets a share of the room; who had less leaves the backlog."""
        quotas = queue.fair_queue.split_capacity(room)
        claimed = await claim_deliveries(tx, quotas, queue.config, open_claim=open_claim)
        queue.record_claims(
            quotas, claimed, now=_now(), horizon_seconds=self._config.poll_interval.total_seconds()
        )
        return claimed

    async def _publish(self, queue: RelayQueue, claims: Sequence[ClaimId]) -> None:
        if not claims:
            return
        began = _now()
        unconfirmed = await self._run_in_thread(lambda: queue.publisher.publish(claims))
        metrics.observe_phase("publish", _now() - began)
        metrics.count_published(queue.config.priority.name, len(claims) - len(unconfirmed))
        if unconfirmed:
            async with self._ledger.transaction() as tx:
                await claiming.return_claims(tx, unconfirmed)
            raise Unavailable("RabbitMQ does not take messages.")
        log.debug("relay.published", lane=queue.config.priority.name, claims=len(claims))

    async def _is_clogged(self) -> bool:
        """Whether claims came back from a queue that nobody reads, and more would only pile up there."""
        for line in self._queues:
            if line.is_clogged:
                line.is_clogged = await self._run_in_thread(line.publisher.count_waiting) > 0
        clogged = any(line.is_clogged for line in self._queues)
        if clogged:
            await asyncio.sleep(_MIN_PAUSE_SECONDS)
        return clogged

    @property
    def _queues(self) -> tuple[RelayQueue, ...]:
        return (self._live_queue,) if self._replay_queue is None else (self._live_queue, self._replay_queue)

    @property
    def _has_due(self) -> bool:
        return any(line.fair_queue for line in self._queues)

    def _create_queue(self, priority: Priority, publisher: Publisher) -> RelayQueue:
        terms = ClaimConfig(
            priority, CLAIM_BATCH_SIZE, self._config.queue_lease, self._config.default_max_in_flight
        )
        return RelayQueue(terms, publisher, window_seconds=self._config.window.total_seconds())

    # At the side: leases, heartbeats, upkeep.

    async def _rescue(self) -> None:
        while True:
            try:
                async with self._ledger.transaction() as tx:
                    rescued = await claiming.rescue_claims(tx)
            except Unavailable:  # the main loop says so already
                rescued = claiming.RescueResult(0, 0)
            if rescued.deliveries:
                metrics.count_rescued(rescued.deliveries)
                log.warning("relay.rescued", deliveries=rescued.deliveries, unstarted=rescued.unstarted)
                for line in self._queues:
                    line.is_clogged = line.is_clogged or rescued.unstarted > 0
                self._request_scan()
            else:
                await asyncio.sleep(RESCUE_INTERVAL_SECONDS)

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)
            await self._run_in_thread(self._live_queue.publisher.send_heartbeat)

    async def _run_maintenance(self) -> None:
        await self._maintenance.run()

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def compute_gap(taken: int, *, has_room: bool, has_more: bool) -> float:
    """How many seconds to let pass between two claims, when the first took so many, or found no room. Pure.

    `more`: something that was due did not get in, and waits already.
    """
    if not has_room:
        return FULL_GAP_SECONDS
    if not taken:
        return IDLE_GAP_SECONDS
    gap = min(MAX_BUSY_GAP_SECONDS, max(MIN_GAP_SECONDS, taken * GAP_PER_DELIVERY_SECONDS))
    return gap if has_more else max(gap, min(MAX_GAP_SECONDS, taken * BULK_GAP_PER_DELIVERY_SECONDS))


def _now() -> float:
    return asyncio.get_running_loop().time()
