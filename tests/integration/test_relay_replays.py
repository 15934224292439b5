"""The relay and its two lanes: live work first, replays beside it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import dramatiq

from delivery.bootstrap import clock
from delivery.dispatch.judging import judge_all
from delivery.ledger import accepting, recording
from delivery.ledger.listening import Listener
from delivery.model import Actor, ClaimId, Lane
from delivery.replay import NewReplay, Replays
from delivery.selection import DeliverySelection
from tests.support import ledger as on
from workers.broker import ACTOR, ADVANCE_ACTOR, REPLAY_ACTOR, Publisher, in_process_broker
from workers.relay import Pace, Relay
from workers.replaying import Replaying
from workers.upkeep import Ages, Upkeep
from workers.window import FEWEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq import Broker

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId

T = TypeVar("T")

LIVE, REPLAYS = "waybill.live", "waybill.replay"
SHARE = 0.2
NEVER = timedelta(hours=1)
TO_REPLAY = "update schedule set lane = 1 where endpoint_id = :id"


def relay_on(ledger: Ledger, broker: Broker) -> Relay:
    upkeep = Upkeep(ledger, Ages(timedelta(days=1), timedelta(days=30)), clock=clock)
    pace = Pace(NEVER, timedelta(seconds=0.5), on.QUEUE_LEASE, on.PLENTY, SHARE)
    live, replays = Publisher(broker, LIVE), Publisher(broker, REPLAYS, actor=REPLAY_ACTOR)
    return Relay(ledger, live, upkeep, pace, replays=replays)


class Queues:
    """Both queues in memory, seen from a worker's side."""

    def __init__(self) -> None:
        self.broker = in_process_broker()
        for name in (LIVE, REPLAYS):
            self.broker.declare_queue(name)

    def take(self, name: str, actor: str) -> list[ClaimId]:
        """Take every message that waits in one of them."""
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
        works = await on.start(ledger, claim_id)
        await on.record(ledger, *[on.success(work, claim_id) for work in works])
        count += len(works)
    return count


async def of_both(ledger: Ledger, tenant: TenantId, count: int) -> tuple[EndpointId, EndpointId]:
    """An endpoint with live work and one with replays, so many of each."""
    live, replayed = [await on.new_endpoint(ledger, tenant) for _ in range(2)]
    for _ in range(count // 500):
        await on.accept_many(ledger, tenant, 500)
    await on.change(ledger, TO_REPLAY, id=replayed)
    return live, replayed


async def test_replays_get_their_share_while_live_work_waits_and_everything_in_the_end(
    ledger: Ledger, tenant: TenantId
) -> None:
    await of_both(ledger, tenant, 2_000)
    queues = Queues()
    relay = relay_on(ledger, queues.broker)
    running = asyncio.create_task(relay.run())
    live = replays = beside = 0
    try:
        while live + replays < 4_000:
            await asyncio.sleep(0.01)
            live += await deliver(ledger, queues.take(LIVE, ACTOR))
            replays += await deliver(ledger, queues.take(REPLAYS, REPLAY_ACTOR))
            waits = await on.rows(
                ledger, "select 1 from schedule where lane = 0 and claim_id is null limit 1"
            )
            beside = replays if waits else beside
    finally:
        relay.stop()
        await running
    assert (live, replays) == (2_000, 2_000)
    # What stands in the queue when live work ends was allowed while it waited.
    assert beside <= 2_000 * SHARE / (1 - SHARE) + FEWEST * SHARE


async def test_replays_alone_are_claimed_as_fast_as_live_work(ledger: Ledger, tenant: TenantId) -> None:
    replayed = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 600)
    await on.change(ledger, TO_REPLAY, id=replayed)
    queues = Queues()
    relay = relay_on(ledger, queues.broker)
    running = asyncio.create_task(relay.run())
    try:
        claimed = "select coalesce(sum(size), 0) from claims where lane = 1"

        async def full() -> bool:
            return bool((await on.row(ledger, claimed))[0] == FEWEST)

        await on.until(full)
    finally:
        relay.stop()
        await running
    assert queues.take(LIVE, ACTOR) == []


async def test_word_of_replays_names_their_lane(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await on.new_endpoint(ledger, tenant)
    listener = await Listener.open(ledger)
    try:
        async with ledger.transaction() as tx:
            await accepting.wake(tx, {(tenant, endpoint)}, lane=Lane.REPLAY)
            await accepting.wake(tx, {(tenant, endpoint)})
        heard = listener.heard()
        told = [await anext(heard), await anext(heard)]
    finally:
        await listener.close()
    assert told == [(Lane.REPLAY, {(tenant, endpoint)}), (Lane.LIVE, {(tenant, endpoint)})]


async def test_a_replay_that_has_ended_has_the_relay_look_for_the_next(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    result = on.success(work, claim_id)
    listener = await Listener.open(ledger)
    try:
        async with ledger.transaction() as tx:
            recorded = await recording.record(tx, [result])
            ended = [on.ended(result, lane=Lane.REPLAY)]
            await judge_all(tx, ended, recorded, dice=lambda: 0.0)
        assert await anext(listener.heard()) == (Lane.REPLAY, {(tenant, endpoint)})
    finally:
        await listener.close()


async def test_replays_of_a_deleted_endpoint_are_cancelled_too(ledger: Ledger, tenant: TenantId) -> None:
    _, replayed = await of_both(ledger, tenant, 500)
    await on.delete_endpoint(ledger, tenant, replayed)
    relay = relay_on(ledger, Queues().broker)
    running = asyncio.create_task(relay.run())
    try:

        async def cancelled() -> bool:
            found = await on.row(
                ledger,
                "select count(*) from deliveries where status = 'cancelled' and endpoint_id = :id",
                id=replayed,
            )
            return bool(found[0] == 500)

        await on.until(cancelled)
    finally:
        relay.stop()
        await running


# ------------------------------------------------------------------ jobs
async def test_a_job_with_a_step_to_take_is_named_to_a_worker_again_and_again(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    queues = Queues()
    uses = Replays(ledger, clock=clock, in_flight=on.PLENTY)
    new = NewReplay(DeliverySelection(endpoints=(endpoint,)), "so")
    made = await uses.create(tenant, new, operator=False, actor=Actor("cli:ada"))
    side = Replaying(ledger, Publisher(queues.broker, REPLAYS, actor=ADVANCE_ACTOR))
    naming = asyncio.create_task(side.run(at_once))
    for _ in range(2):  # a message may be lost
        await on.until(lambda: queues.broker.queues[REPLAYS].qsize() > 0)
        assert queues.take(REPLAYS, ADVANCE_ACTOR) == [made.id]
        await on.change(ledger, "update replays set next_at = now() where id = :id", id=made.id)
    naming.cancel()


async def at_once(work: Callable[[], T], /) -> T:
    return work()
