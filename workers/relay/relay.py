"""The relay: claims due deliveries fairly, publishes the claims, and takes back lapsed ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import TYPE_CHECKING

from delivery.domain.backoff import Backoff
from delivery.domain.delivery import Priority
from delivery.domain.errors import Unavailable
from delivery.ledger.queue import claims as queue_claims
from delivery.ledger.queue.notifications import NotificationListener
from delivery.log import get_logger
from delivery.pipeline.claiming import ClaimConfig, claim_deliveries
from delivery.telemetry import metrics
from workers.broker.thread import BrokerThread
from workers.relay.gap import compute_gap
from workers.relay.relay_queue import RelayQueue
from workers.relay.replay_budget import ReplayBudget
from workers.relay.window import CLAIM_BATCH_SIZE
from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.domain.ids import ClaimId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.pipeline.claiming import ClaimRound, OpenClaim
    from workers.broker.broker import Publisher
    from workers.tasks.maintenance import MaintenanceTask

log = get_logger()

# The share of the relay's time that scans may take: with very many endpoints they come less often.
MAX_SCAN_SHARE = 0.05
# Replays that have been in progress for longer than this no longer count against the replay budget.
SLOW_AFTER = timedelta(seconds=2)
RESCUE_INTERVAL_SECONDS = 1.0
HEARTBEAT_INTERVAL_SECONDS = 5.0
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """How a relay works.

    `poll_interval`: between two scans; `window`: how much work, in time, the queue may hold; `queue_lease`:
    how long a claim may wait there; `default_max_in_flight`: for endpoints without a limit of their own;
    `replay_share`: the largest part of the queue that replays get while live deliveries wait.
    """

    poll_interval: timedelta
    window: timedelta
    queue_lease: timedelta
    default_max_in_flight: int
    replay_share: float = 0.2


class Relay:
    """One relay. Any number may run: deliveries that one has locked are skipped by the others."""

    def __init__(  # noqa: PLR0913  its parts, each by its name
        self,
        ledger: Ledger,
        publisher: Publisher,
        maintenance: MaintenanceTask,
        config: RelayConfig,
        *,
        replay_publisher: Publisher | None = None,
        broker_thread: BrokerThread | None = None,
        background_tasks: Sequence[PeriodicTask] = (),
    ) -> None:
        """Without a `replay_publisher` no replays are claimed.

        `background_tasks` run as long as the relay. Those that use the broker share its `broker_thread`.
        """
        self._ledger = ledger
        self._maintenance = maintenance
        self._config = config
        self._broker_thread = broker_thread or BrokerThread()
        self._background_tasks = background_tasks
        self._live_queue = self._create_queue(Priority.LIVE, publisher)
        self._replay_queue = (
            None if replay_publisher is None else self._create_queue(Priority.REPLAY, replay_publisher)
        )
        self._replay_budget = ReplayBudget(config.replay_share)
        self._backoff = _create_backoff()
        self._woken = asyncio.Event()
        self._next_scan = 0.0
        self._next_claim = 0.0
        self._pause = 0.0
        self._stopping = False

    def stop(self) -> None:
        """End `run` once everything that is claimed is published or handed back."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Relay until stopped. Waits out outages of the ledger or the broker; any other error ends it."""
        own_tasks = (
            PeriodicTask(self._rescue, retry_seconds=RESCUE_INTERVAL_SECONDS, postponed_event=None),
            PeriodicTask(
                self._send_heartbeat, retry_seconds=HEARTBEAT_INTERVAL_SECONDS, postponed_event=None
            ),
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._listen()), group.create_task(self._maintenance.run())]
                tasks += [group.create_task(task.run()) for task in (*own_tasks, *self._background_tasks)]
                await self._relay_until_stopped()
                for task in tasks:
                    task.cancel()
        finally:
            self._broker_thread.close()

    # Finding what is due: notifications and scans.

    async def _listen(self) -> None:
        backoff = _create_backoff()
        while True:
            try:
                listener = await NotificationListener.open(self._ledger)
                backoff.reset()
                try:
                    self._request_scan()  # for deliveries that became due without a listener
                    async for priority, endpoints in listener.receive_notifications():
                        self._on_notification(priority, endpoints)
                finally:
                    await listener.close()
            except Unavailable as error:
                pause = backoff.next_pause()
                log.warning("relay.not_listening", why=str(error), seconds=pause)
                await asyncio.sleep(pause)

    def _on_notification(self, priority: Priority, endpoints: set[tuple[TenantId, EndpointId]]) -> None:
        log.debug("relay.notified", lane=priority.name, endpoints=len(endpoints))
        if not endpoints:
            self._request_scan()
            return
        for queue in self._queues:
            if queue.config.priority is priority:
                queue.add_notified(endpoints)
                self._woken.set()

    def _request_scan(self) -> None:
        self._next_scan = 0.0
        self._woken.set()

    async def _scan(self) -> None:
        """Find every endpoint with something due, and plan the next scan."""
        began = _now()
        self._next_scan = planned = began + self._config.poll_interval.total_seconds()
        async with self._ledger.transaction() as tx:
            for queue in self._queues:
                endpoints = await queue_claims.find_ready_endpoints(tx, priority=queue.config.priority)
                queue.fair_queue.add_due(
                    (ready.tenant_id, ready.endpoint_id)
                    for ready in endpoints
                    if ready.due and not ready.deleted
                )
                self._maintenance.schedule_cancellation(
                    [ready.endpoint_id for ready in endpoints if ready.deleted]
                )
        if self._next_scan == planned:  # no other scan was requested meanwhile
            self._next_scan = max(planned, began + (_now() - began) / MAX_SCAN_SHARE)

    # From due to queued.

    async def _relay_until_stopped(self) -> None:
        while not self._stopping:
            await self._wait_for_work()
            for queue in self._queues:
                queue.merge_notified(_now())
            try:
                if _now() >= self._next_scan:
                    await self._scan()
                if self._has_due and not await self._is_clogged():
                    await self._relay_once()
            except Unavailable as error:
                self._pause = self._backoff.next_pause()
                self._next_scan = 0.0
                log.warning("relay.waiting", why=str(error), seconds=self._pause)
            else:
                self._pause = 0.0
                self._backoff.reset()
                metrics.set_relay_looked(time())

    async def _relay_once(self) -> None:
        """Claim what the queues have room for, and publish it."""
        began = _now()
        has_room = await self._measure_queues()
        claimed = await self._claim() if has_room else []
        if claimed:
            metrics.observe_phase("claim", _now() - began)
        total = sum(count for _, _, count in claimed)
        self._next_claim = began + compute_gap(total, has_room=has_room, has_more=self._has_due)
        for queue, claim_ids, count in claimed:
            priority = queue.config.priority.name
            log.debug("relay.claimed", lane=priority, deliveries=count)
            metrics.count_claimed(priority, count)
            await self._publish(queue, claim_ids)

    async def _wait_for_work(self) -> None:
        """Sleep until there may be something to do."""
        if self._pause:
            await asyncio.sleep(self._pause)
            return
        if not self._has_due:
            try:
                next_look = min(self._next_scan, *(queue.fair_queue.next_at for queue in self._queues))
                await asyncio.wait_for(self._woken.wait(), timeout=max(0.0, next_look - _now()))
            except TimeoutError:
                return
            finally:
                self._woken.clear()
        await asyncio.sleep(max(0.0, self._next_claim - _now()))

    async def _claim(self) -> list[tuple[RelayQueue, Sequence[ClaimId], int]]:
        """Claim what there is room for, live work first; the claims of each queue, and their deliveries."""
        async with self._ledger.transaction() as tx:
            live, replays = self._live_queue, self._replay_queue
            is_queued = live.window.waiting > 0
            claim_ids, count = await self._claim_from_queue(tx, live, live.window.room)
            claimed: list[tuple[RelayQueue, Sequence[ClaimId], int]] = [(live, claim_ids, count)]
            # Queued work that no worker has started waits as well, whichever relay has queued it.
            self._replay_budget = self._replay_budget.record_live(
                count, is_live_waiting=is_queued or bool(live.fair_queue), now=_now()
            )
            if replays is not None and replays.fair_queue:
                room = await self._compute_replay_room(tx, replays)
                claim_ids, count = await self._claim_from_queue(tx, replays, room)
                self._replay_budget = self._replay_budget.spend_credit(count)
                claimed.append((replays, claim_ids, count))
        return claimed

    async def _measure_queues(self) -> bool:
        """Count what waits in the queues; True if there is room for something that is due."""
        async with self._ledger.autocommit() as connection:
            for queue in self._queues:
                if queue is self._live_queue or queue.fair_queue:
                    waiting = await queue_claims.count_queued(connection, priority=queue.config.priority)
                    queue.observe_waiting(waiting, now=_now())
        for queue in self._queues:
            metrics.set_window(
                queue.config.priority.name, waiting=queue.window.waiting, limit=queue.window.target
            )
        if any(queue.fair_queue and queue.window.room > 0 for queue in self._queues):
            return True
        is_live_waiting = self._live_queue.window.waiting > 0 or bool(self._live_queue.fair_queue)
        self._replay_budget = self._replay_budget.record_live(0, is_live_waiting=is_live_waiting, now=_now())
        return False

    async def _compute_replay_room(self, tx: Transaction, queue: RelayQueue) -> int:
        room = self._replay_budget.compute_allowed(queue.window.room)
        if not self._replay_budget.is_live_active(_now()):
            return room
        in_progress = await queue_claims.count_in_progress(tx, priority=Priority.REPLAY, max_age=SLOW_AFTER)
        limit = self._replay_budget.compute_max_concurrent(queue.window.deliveries_per_window)
        return min(room, max(0, limit - in_progress))

    async def _claim_from_queue(
        self, tx: Transaction, queue: RelayQueue, room: int
    ) -> tuple[list[ClaimId], int]:
        claim_ids: dict[ClaimId, None] = {}
        open_claim: OpenClaim | None = None
        count = 0
        while queue.fair_queue and count < room:
            claimed = await self._claim_round(tx, queue, room - count, open_claim)
            claim_ids |= dict.fromkeys(claimed.claim_ids)
            open_claim = claimed.open_claim
            count += claimed.delivery_count
        return list(claim_ids), count

    async def _claim_round(
        self, tx: Transaction, queue: RelayQueue, room: int, open_claim: OpenClaim | None
    ) -> ClaimRound:
        """Share the room among the next endpoints; those that use less than their share leave the queue."""
        quotas = queue.fair_queue.split_capacity(room)
        claimed = await claim_deliveries(tx, quotas, queue.config, open_claim=open_claim)
        queue.record_claims(
            quotas, claimed, now=_now(), horizon_seconds=self._config.poll_interval.total_seconds()
        )
        return claimed

    async def _publish(self, queue: RelayQueue, claim_ids: Sequence[ClaimId]) -> None:
        if not claim_ids:
            return
        began = _now()
        unconfirmed = await self._broker_thread.run(lambda: queue.publisher.publish(claim_ids))
        metrics.observe_phase("publish", _now() - began)
        metrics.count_published(queue.config.priority.name, len(claim_ids) - len(unconfirmed))
        if unconfirmed:
            async with self._ledger.transaction() as tx:
                await queue_claims.return_claims(tx, unconfirmed)
            raise Unavailable("RabbitMQ does not take messages.")
        log.debug("relay.published", lane=queue.config.priority.name, claims=len(claim_ids))

    async def _is_clogged(self) -> bool:
        """Whether claims came back unread from a queue without consumers, where more would only pile up."""
        for queue in self._queues:
            if queue.is_clogged:
                queue.is_clogged = await self._broker_thread.run(queue.publisher.count_waiting) > 0
        is_clogged = any(queue.is_clogged for queue in self._queues)
        if is_clogged:
            await asyncio.sleep(_MIN_PAUSE_SECONDS)
        return is_clogged

    @property
    def _queues(self) -> tuple[RelayQueue, ...]:
        return (self._live_queue,) if self._replay_queue is None else (self._live_queue, self._replay_queue)

    @property
    def _has_due(self) -> bool:
        return any(queue.fair_queue for queue in self._queues)

    def _create_queue(self, priority: Priority, publisher: Publisher) -> RelayQueue:
        config = ClaimConfig(
            priority, CLAIM_BATCH_SIZE, self._config.queue_lease, self._config.default_max_in_flight
        )
        return RelayQueue(config, publisher, window_seconds=self._config.window.total_seconds())

    # Beside it: lapsed leases and heartbeats.

    async def _rescue(self) -> float:
        """Return deliveries with lapsed leases to the schedule; the seconds to wait before the next look."""
        async with self._ledger.transaction() as tx:
            rescued = await queue_claims.rescue_claims(tx)
        if not rescued.deliveries:
            return RESCUE_INTERVAL_SECONDS
        metrics.count_rescued(rescued.deliveries)
        log.warning("relay.rescued", deliveries=rescued.deliveries, unstarted=rescued.unstarted)
        for queue in self._queues:
            queue.is_clogged = queue.is_clogged or rescued.unstarted > 0
        self._request_scan()
        return 0.0

    async def _send_heartbeat(self) -> float:
        await self._broker_thread.run(self._live_queue.publisher.send_heartbeat)
        return HEARTBEAT_INTERVAL_SECONDS


def _create_backoff() -> Backoff:
    return Backoff(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
