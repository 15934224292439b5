"""The relay's two priorities: live work first, replays beside it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import dramatiq

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery import Priority
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import ClaimId
from delivery.ledger.queue import enqueue, results
from delivery.ledger.queue.notifications import NotificationListener
from delivery.pipeline.health_update import apply_results
from delivery.services.replays.service import ReplayService
from delivery.services.replays.validation import NewReplay
from tests.support import ledger_builders as build
from workers.broker.broker import (
    ADVANCE_REPLAY_ACTOR,
    DELIVER_ACTOR,
    DELIVER_REPLAYS_ACTOR,
    Publisher,
    create_in_process_broker,
)
from workers.broker.thread import BrokerThread
from workers.relay.relay import Relay, RelayConfig
from workers.relay.window import MIN_TARGET
from workers.tasks.maintenance import MaintenanceTask
from workers.tasks.replays import create_replay_task

if TYPE_CHECKING:
    from dramatiq import Broker

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger

LIVE, REPLAYS = "waybill.live", "waybill.replay"
SHARE = 0.2
NEVER = timedelta(hours=1)
TO_REPLAY = "update schedule set lane = 1 where endpoint_id = :id"


def make_relay(ledger: Ledger, broker: Broker) -> Relay:
    maintenance = MaintenanceTask(build.make_maintenance(ledger))
    config = RelayConfig(NEVER, timedelta(seconds=0.5), build.QUEUE_LEASE, build.HIGH_IN_FLIGHT, SHARE)
    live, replays = Publisher(broker, LIVE), Publisher(broker, REPLAYS, actor=DELIVER_REPLAYS_ACTOR)
    return Relay(ledger, live, maintenance, config, replay_publisher=replays)


class Queues:
    """Both queues in memory, as a worker sees them."""

    def __init__(self) -> None:
        self.broker = create_in_process_broker()
        for name in (LIVE, REPLAYS):
            self.broker.declare_queue(name)

    def take(self, name: str, actor: str) -> list[ClaimId]:
        """Take every waiting message of one queue."""
        found = []
        while self.broker.queues[name].qsize():
            message = dramatiq.Message.decode(self.broker.queues[name].get())
            assert message.actor_name == actor
            found.append(ClaimId(UUID(message.args[0])))
        return found


async def deliver(ledger: Ledger, claims: list[ClaimId]) -> int:
    """Start claims and record all of them as delivered."""
    count = 0
    for claim_id in claims:
        works = await build.start_claim(ledger, claim_id)
        await build.record_results(ledger, *[build.make_success(work, claim_id) for work in works])
        count += len(works)
    return count


async def make_both(ledger: Ledger, tenant: TenantId, count: int) -> tuple[EndpointId, EndpointId]:
    """Make an endpoint with live deliveries and one with replays, this many of each."""
    live, replayed = [await build.create_endpoint(ledger, tenant) for _ in range(2)]
    for _ in range(count // 500):
        await build.accept_events(ledger, tenant, 500)
    await build.execute(ledger, TO_REPLAY, id=replayed)
    return live, replayed


async def test_replays_get_their_share_beside_live_work_and_the_rest_after(
    ledger: Ledger, tenant: TenantId
) -> None:
    await make_both(ledger, tenant, 2_000)
    queues = Queues()
    relay = make_relay(ledger, queues.broker)
    running = asyncio.create_task(relay.run())
    live = replays = beside = 0
    try:
        while live + replays < 4_000:
            await asyncio.sleep(0.01)
            live += await deliver(ledger, queues.take(LIVE, DELIVER_ACTOR))
            replays += await deliver(ledger, queues.take(REPLAYS, DELIVER_REPLAYS_ACTOR))
            waits = await build.fetch_rows(
                ledger, "select 1 from schedule where lane = 0 and claim_id is null limit 1"
            )
            beside = replays if waits else beside
    finally:
        relay.stop()
        await running
    assert (live, replays) == (2_000, 2_000)
    # Items that are queued when live work ends were allowed while it waited.
    assert beside <= 2_000 * SHARE / (1 - SHARE) + MIN_TARGET * SHARE


async def test_replays_alone_are_claimed_as_fast_as_live_work(ledger: Ledger, tenant: TenantId) -> None:
    replayed = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 600)
    await build.execute(ledger, TO_REPLAY, id=replayed)
    queues = Queues()
    relay = make_relay(ledger, queues.broker)
    running = asyncio.create_task(relay.run())
    try:
        claimed = "select coalesce(sum(size), 0) from claims where lane = 1"

        async def is_full() -> bool:
            return bool((await build.fetch_row(ledger, claimed))[0] == MIN_TARGET)

        await build.wait_until(is_full)
    finally:
        relay.stop()
        await running
    assert queues.take(LIVE, DELIVER_ACTOR) == []


async def test_replay_notifications_name_the_replay_priority(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    listener = await NotificationListener.open(ledger)
    try:
        async with ledger.transaction() as tx:
            await enqueue.notify_due(tx, {(tenant, endpoint)}, priority=Priority.REPLAY)
            await enqueue.notify_due(tx, {(tenant, endpoint)})
        heard = listener.receive_notifications()
        result = [await anext(heard), await anext(heard)]
    finally:
        await listener.close()
    assert result == [(Priority.REPLAY, {(tenant, endpoint)}), (Priority.LIVE, {(tenant, endpoint)})]


async def test_a_finished_replay_wakes_the_relay(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    result = build.make_success(work, claim_id)
    listener = await NotificationListener.open(ledger)
    try:
        async with ledger.transaction() as tx:
            recorded = await results.record_attempts(tx, [result])
            ended = [build.make_attempt_result(result, lane=Priority.REPLAY)]
            await apply_results(tx, ended, recorded, rng=lambda: 0.0)
        assert await anext(listener.receive_notifications()) == (Priority.REPLAY, {(tenant, endpoint)})
    finally:
        await listener.close()


async def test_replays_of_a_deleted_endpoint_are_cancelled(ledger: Ledger, tenant: TenantId) -> None:
    _, replayed = await make_both(ledger, tenant, 500)
    await build.delete_endpoint(ledger, tenant, replayed)
    relay = make_relay(ledger, Queues().broker)
    running = asyncio.create_task(relay.run())
    try:

        async def cancelled() -> bool:
            found = await build.fetch_row(
                ledger,
                "select count(*) from deliveries where status = 'cancelled' and endpoint_id = :id",
                id=replayed,
            )
            return bool(found[0] == 500)

        await build.wait_until(cancelled)
    finally:
        relay.stop()
        await running


# ------------------------------------------------------------------ jobs
async def test_a_due_replay_is_published_until_it_is_not_due(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    queues = Queues()
    uses = ReplayService(ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    new = NewReplay(DeliveryFilter(endpoints=(endpoint,)), "so")
    created = await uses.create(tenant, new, operator=False, actor=Actor("cli:ada"))
    publisher, thread = Publisher(queues.broker, REPLAYS, actor=ADVANCE_REPLAY_ACTOR), BrokerThread()
    publishing = asyncio.create_task(create_replay_task(ledger, publisher, thread).run())
    for _ in range(2):  # a message may be lost
        await build.wait_until(lambda: queues.broker.queues[REPLAYS].qsize() > 0)
        assert queues.take(REPLAYS, ADVANCE_REPLAY_ACTOR) == [created.id]
        await build.execute(ledger, "update replays set next_at = now() where id = :id", id=created.id)
    publishing.cancel()
    thread.close()
