"""The relay on a real database and an in-memory queue: due and lost deliveries are published."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dramatiq
import pytest
from dramatiq.errors import ConnectionClosed

from delivery.clock import clock
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.domain.ids import ClaimId
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from delivery.ledger.queue import claims
from retries.breaker import BreakerConfig
from retries.health import Signal
from retries.rate import RateLimit
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import AttemptSignal
from tests.support.ledger_builders import EndpointSpec
from tests.support.postgres import connect
from tests.support.recorded_statements import record_statements
from workers.broker.broker import DELIVER_ACTOR, Id, Publisher, create_in_process_broker
from workers.relay.relay import Relay, RelayConfig
from workers.relay.window import MIN_TARGET
from workers.tasks.maintenance import MaintenanceTask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dramatiq import Broker

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.claims import ClaimedDelivery

QUEUE = "waybill.live"
NEVER = timedelta(hours=1)


class Queue:
    """The in-memory queue, as a worker sees it."""

    def __init__(self) -> None:
        self.broker: Broker = create_in_process_broker()
        self.broker.declare_queue(QUEUE)

    def __len__(self) -> int:
        return self.broker.queues[QUEUE].qsize()  # type: ignore[no-any-return]

    def take(self) -> list[ClaimId]:
        """Take every waiting message."""
        found = []
        while len(self):
            message = dramatiq.Message.decode(self.broker.queues[QUEUE].get())
            assert (message.queue_name, message.actor_name) == (QUEUE, DELIVER_ACTOR)
            found.append(ClaimId(UUID(message.args[0])))
        return found


class FailingPublisher(Publisher):
    """A publisher that refuses while `refuses` is set, and waits for `may_go_on`."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, QUEUE)
        self.refuses = False
        self.refused = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.asked = 0
        self.counted = 0

    def count_waiting(self) -> int:
        self.counted += 1
        return super().count_waiting()

    def publish(self, ids: Sequence[Id]) -> list[Id]:
        self.asked += 1
        assert self.may_go_on.wait(30)
        if self.refuses:
            self.refused += 1
            return list(ids)
        return super().publish(ids)


def make_relay(ledger: Ledger, publisher: Publisher, *, poll: timedelta = NEVER) -> Relay:
    maintenance = MaintenanceTask(build.make_maintenance(ledger))
    config = RelayConfig(
        poll_interval=poll,
        window=timedelta(seconds=0.5),
        queue_lease=build.QUEUE_LEASE,
        default_max_in_flight=build.HIGH_IN_FLIGHT,
    )
    return Relay(ledger, publisher, maintenance, config)


@asynccontextmanager
async def run_relay(relay: Relay) -> AsyncIterator[None]:
    """Run a relay, and stop it in order at the end."""
    running = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        async with asyncio.timeout(30):
            await running


async def is_listening(ledger: Ledger, *, relays: int = 1) -> bool:
    """Whether the relays listen and have finished their first scan."""
    found = await build.fetch_row(
        ledger,
        """
        select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'waybill listener' and state = 'idle'
        """,
    )
    return int(found[0]) == relays


# ---- from due to published
async def test_deliveries_due_at_start_are_published_once(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 150)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: len(queue) == 2)
    published = queue.take()
    works = [work for claim_id in published for work in await build.start_claim(ledger, claim_id)]
    assert {work.delivery_id for work in works} == set(await build.list_delivery_ids(ledger, endpoint))
    assert len(works) == 150


async def test_an_event_is_published_at_once_without_a_scan(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        await build.wait_until(lambda: is_listening(ledger))
        published: set[ClaimId] = set()
        for _ in range(3):
            await build.accept_event(ledger, tenant)
            await build.wait_until(lambda: len(queue) == 1)
            published.update(queue.take())
    assert len(published) == 3


async def test_an_event_during_a_claim_is_published(own_ledger: Ledger, database_url: str) -> None:
    """The claim did not see it, and drops endpoints without due deliveries from the queue when it ends."""
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant)
    await build.execute(
        own_ledger,
        """
        create function wait_for_the_test() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(42); return new; end $$
        """,
    )
    await build.execute(
        own_ledger,
        "create trigger slow before insert on claims for each row execute function wait_for_the_test()",
    )
    queue = Queue()
    async with run_relay(make_relay(own_ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        await build.wait_until(lambda: is_listening(own_ledger))
        with connect(database_url) as holding:
            holding.execute("select pg_advisory_lock(42)")
            await build.accept_event(own_ledger, tenant)
            await build.wait_until(lambda: build.has_lock_waiter(own_ledger))
            await build.accept_event(own_ledger, tenant)
            await build.accept_event(
                own_ledger, tenant
            )  # at its commit the relay has been notified of the one before
        await build.wait_until(lambda: build.is_everything_claimed(own_ledger))
    assert (await build.fetch_row(own_ledger, "select sum(size) from claims"))[0] == 3


async def test_a_scan_finds_endpoints_beyond_a_notification(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(175):
        await build.create_endpoint(ledger, tenant)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        await build.wait_until(lambda: is_listening(ledger))
        await build.accept_event(ledger, tenant)
        await build.wait_until(lambda: build.is_everything_claimed(ledger))
    assert (await build.fetch_row(ledger, "select sum(size) from claims"))[0] == 175


async def test_a_retry_is_found_by_polling_when_it_is_due(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_retry(work, claim_id, delay=timedelta(seconds=0.2)))
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=timedelta(seconds=0.05))):
        await build.wait_until(lambda: len(queue) == 1)


async def test_paused_deliveries_are_published_after_resuming(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    other = await build.create_endpoint(ledger, tenant)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: is_listening(ledger))
        await build.accept_event(ledger, tenant)
        await build.wait_until(lambda: len(queue) == 1)
        ((work,),) = [await build.start_claim(ledger, claim_id) for claim_id in queue.take()]
        assert work.endpoint_id == other
        await build.set_state(ledger, endpoint, EndpointState.ACTIVE)
        await build.notify_due(ledger, tenant, endpoint)
        await build.wait_until(lambda: len(queue) == 1)
    ((work,),) = [await build.start_claim(ledger, claim_id) for claim_id in queue.take()]
    assert work.endpoint_id == endpoint


async def test_relay_queues_no_more_than_the_window(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    await build.accept_events(ledger, tenant, 1_000)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: len(queue) >= MIN_TARGET // 100)
        assert (await build.fetch_row(ledger, "select sum(size) from claims"))[0] == MIN_TARGET
        taken = 0

        async def is_all_taken() -> bool:
            nonlocal taken
            for claim_id in queue.take():
                taken += len(await build.start_claim(ledger, claim_id))
            return taken == 1_000

        await build.wait_until(is_all_taken)


async def test_one_tenant_s_backlog_does_not_delay_another_s_event(ledger: Ledger) -> None:
    loud, quiet = await build.create_tenant(ledger), await build.create_tenant(ledger)
    await build.create_endpoint(ledger, loud)
    patient = await build.create_endpoint(ledger, quiet)
    await build.accept_events(ledger, loud, 1_000)
    await build.accept_event(ledger, quiet)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: len(queue) > 0)
    works = [work for claim_id in queue.take() for work in await build.start_claim(ledger, claim_id)]
    assert patient in {work.endpoint_id for work in works}
    assert len(works) < 1_000


async def test_two_relays_publish_nothing_twice(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(4):
        await build.create_endpoint(ledger, tenant)
    queues = [Queue(), Queue()]
    first, second = [make_relay(ledger, Publisher(queue.broker, QUEUE)) for queue in queues]
    async with run_relay(first), run_relay(second):
        await build.wait_until(lambda: is_listening(ledger, relays=2))
        works = []

        async def is_all_started() -> bool:
            works.extend(
                [
                    work.delivery_id
                    for queue in queues
                    for claim_id in queue.take()
                    for work in await build.start_claim(ledger, claim_id)
                ]
            )
            return len(works) >= 800

        for _ in range(10):
            await build.accept_events(ledger, tenant, 20)
        await build.wait_until(is_all_started)
    assert len(works) == len(set(works)) == 800


# ---- limits of endpoints
THREE = EndpointLimits(in_flight=3)
PATIENT = replace(health_attempts.HEALTH_TERMS, breaker=BreakerConfig(consecutive=1_000, minimum=1_000))


class Worker:
    """Takes queued claims, holds them, and ends attempts successfully one at a time."""

    def __init__(self, ledger: Ledger, *queues: Queue) -> None:
        self._ledger = ledger
        self._queues = queues
        self.in_hand: list[tuple[ClaimId, ClaimedDelivery]] = []
        self.delivered = 0

    async def holds(self, count: int) -> bool:
        """Whether this many are in flight, after another read of the queues."""
        for queue in self._queues:
            for claim_id in queue.take():
                self.in_hand += [(claim_id, work) for work in await build.start_claim(self._ledger, claim_id)]
        return len(self.in_hand) >= count

    async def deliver(self, signal: Signal = Signal.GOOD, *, most: int = 3) -> None:
        """End the oldest attempt; `max_in_flight` is the endpoint's limit."""
        claim_id, work = self.in_hand.pop(0)
        result = AttemptSignal(signal, terms=replace(PATIENT, max_in_flight=most))
        await health_attempts.record_attempts(
            self._ledger, health_attempts.make_attempt_result(work, claim_id, result)
        )
        self.delivered += 1


class CountingLedger(Ledger):
    """A ledger that counts the scans, and the endpoints whose gates are locked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, application_name="waybill relay")
        self.scans = 0
        self.looks: Counter[UUID] = Counter()

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        async with super().transaction(tenant_id=tenant_id) as tx, record_statements(tx, self._note):
            yield tx

    def _note(self, statement: str, values: Any) -> None:
        self.scans += "with recursive head" in statement
        if "for update of h skip locked" in statement:
            self.looks.update(values["ids"])


@pytest.fixture
async def count_calls(shared_url: str) -> AsyncIterator[CountingLedger]:
    count_calls = CountingLedger(shared_url)
    yield count_calls
    await count_calls.close()


async def test_endpoint_at_its_limit_is_claimed_again_after_a_result(
    ledger: Ledger, tenant: TenantId
) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(limits=THREE))
    await build.accept_events(ledger, tenant, 12)
    queue = Queue()
    worker = Worker(ledger, queue)
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        while worker.delivered < 9:
            await build.wait_until(lambda: worker.holds(3))
            assert len(worker.in_hand) == 3
            await worker.deliver()
        await build.wait_until(lambda: worker.holds(3))
    assert await build.is_everything_claimed(ledger)


@pytest.mark.parametrize("most", [1, 4, 9])
async def test_endpoint_with_changing_limit_is_drained(ledger: Ledger, tenant: TenantId, most: int) -> None:
    """The limit halves with every slow answer and grows with good ones; no poll helps."""
    await build.create_endpoint(ledger, tenant, EndpointSpec(limits=EndpointLimits(in_flight=most)))
    await build.accept_events(ledger, tenant, 40)
    queue = Queue()
    worker = Worker(ledger, queue)
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        while worker.delivered < 40:
            await build.wait_until(lambda: worker.holds(1))
            slow = worker.delivered % 6 == 0
            await worker.deliver(Signal.SLOW if slow else Signal.GOOD, most=most)
    assert await build.is_schedule_empty(ledger)


async def test_rate_limited_deliveries_are_published_when_allowed(ledger: Ledger, tenant: TenantId) -> None:
    limits = EndpointLimits(rate=RateLimit(20, timedelta(seconds=1)))
    await build.create_endpoint(ledger, tenant, EndpointSpec(limits=limits))
    await build.accept_events(ledger, tenant, 5)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        await build.wait_until(lambda: build.is_everything_claimed(ledger))
    found = await build.fetch_rows(ledger, "select size, created_at from claims order by created_at")
    assert sum(row.size for row in found) == 5
    # The first may be sent at once, each further one fifty milliseconds after the previous one.
    assert found[-1].created_at - found[0].created_at >= timedelta(seconds=0.1)


@pytest.mark.parametrize(
    "held", ["breaker = 'open', probe_at = clock_timestamp() + :by", "waits_until = clock_timestamp() + :by"]
)
async def test_a_hold_shorter_than_a_poll_ends_in_time(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, held: str
) -> None:
    await build.accept_events(ledger, tenant, 1)
    change = f"update endpoint_health set {held} where endpoint_id = :id"  # noqa: S608  a constant
    await build.execute(ledger, change, by=timedelta(seconds=0.3), id=endpoint)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=NEVER)):
        await build.wait_until(lambda: is_listening(ledger))
        await build.notify_due(ledger, tenant, endpoint)
        await build.wait_until(lambda: len(queue) == 1)


async def test_two_relays_keep_to_an_endpoint_s_limit(
    own_ledger: Ledger,
) -> None:
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant, EndpointSpec(limits=THREE))
    # A broken limit ends the relay, and the test with it.
    await build.execute(own_ledger, "alter table endpoint_health add constraint bound check (in_flight <= 3)")
    queues = [Queue(), Queue()]
    worker = Worker(own_ledger, *queues)
    first, second = [
        make_relay(own_ledger, Publisher(queue.broker, QUEUE), poll=timedelta(seconds=0.05))
        for queue in queues
    ]
    async with run_relay(first), run_relay(second):
        await build.wait_until(lambda: is_listening(own_ledger, relays=2))
        await build.accept_events(own_ledger, tenant, 60)
        while worker.delivered < 60:
            await build.wait_until(lambda: worker.holds(1))
            claimed = await build.fetch_row(
                own_ledger, "select count(*) from schedule where claim_id is not null"
            )
            assert len(worker.in_hand) <= claimed[0] <= 3
            await worker.deliver()
    assert await build.is_schedule_empty(own_ledger)


@pytest.mark.parametrize(
    "held",
    [
        "breaker = 'open', probe_at = now() + interval '1 h'",
        "breaker = 'half_open', probe_id = gen_random_uuid()",
        "waits_until = now() + interval '1 h'",
        "in_flight = 1000000",
        "rate_next_at = now() + interval '1 h'",
    ],
)
async def test_held_endpoint_is_checked_once_per_notification(
    ledger: Ledger, tenant: TenantId, count_calls: CountingLedger, held: str
) -> None:
    limits = EndpointLimits(in_flight=3, rate=RateLimit(1_000, timedelta(seconds=1)))
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(limits=limits))
    await build.create_endpoint(ledger, tenant)
    change = f"update endpoint_health set {held} where endpoint_id = :id"  # noqa: S608  a constant
    await build.execute(ledger, change, id=endpoint)
    queue = Queue()
    async with run_relay(
        make_relay(count_calls, Publisher(queue.broker, QUEUE), poll=timedelta(seconds=0.02))
    ):
        await build.wait_until(lambda: is_listening(ledger))
        await build.accept_event(ledger, tenant)
        await build.wait_until(lambda: len(queue) == 1)
        scans = count_calls.scans
        await build.wait_until(lambda: count_calls.scans >= scans + 20)
    # Every scan finds an endpoint at its limit: nothing says when it will have room.
    found_by_scans = count_calls.scans if "in_flight" in held else 0
    assert count_calls.looks[endpoint] <= 1 + found_by_scans


# ---- failures
async def test_claims_refused_by_the_broker_are_released_and_published_later(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 5)
    queue = Queue()
    publisher = FailingPublisher(queue.broker)
    publisher.refuses = True
    async with run_relay(make_relay(ledger, publisher)):
        await build.wait_until(lambda: publisher.refused >= 2)
        publisher.refuses = False
        await build.wait_until(lambda: len(queue) == 1)
    (claim_id,) = queue.take()
    works = await build.start_claim(ledger, claim_id)
    assert {work.delivery_id for work in works} == set(await build.list_delivery_ids(ledger, endpoint))
    assert {(work.attempts, work.step) for work in works} == {(0, 0)}
    assert await build.count_rows(ledger, "claims") == 1


async def test_a_broker_that_fails_midway_leaves_the_rest_unconfirmed(ledger: Ledger) -> None:
    class BreakingBroker(Queue):
        def __init__(self) -> None:
            super().__init__()
            enqueue = self.broker.enqueue

            def enqueue_two(message: dramatiq.Message[None]) -> dramatiq.Message[None]:
                if len(self) == 2:
                    raise ConnectionClosed("gone")  # type: ignore[no-untyped-call]
                return enqueue(message)

            self.broker.enqueue = enqueue_two  # type: ignore[method-assign, assignment]

    del ledger
    queue = BreakingBroker()
    claims = [ClaimId(UUID(int=number)) for number in range(5)]
    assert Publisher(queue.broker, QUEUE).publish(claims) == claims[2:]
    assert queue.take() == claims[:2]


async def test_a_claim_whose_message_was_lost_is_published_again(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    await build.accept_event(ledger, tenant)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: len(queue) == 1)
        (lost,) = queue.take()
        await build.expire_lease(ledger, lost)
        await build.wait_until(lambda: len(queue) == 1)
    (found,) = queue.take()
    assert found != lost
    assert await build.start_claim(ledger, lost) == []
    assert len(await build.start_claim(ledger, found)) == 1


async def test_a_dead_worker_s_deliveries_are_published_again(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    await build.accept_event(ledger, tenant)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: len(queue) == 1)
        (dead,) = queue.take()
        await build.start_claim(ledger, dead)
        await build.expire_lease(ledger, dead)
        await build.wait_until(lambda: len(queue) == 1)
    assert len(await build.start_claim(ledger, queue.take()[0])) == 1


async def test_an_unread_queue_is_not_filled_further(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    await build.accept_events(ledger, tenant, 3)
    queue = Queue()
    publisher = FailingPublisher(queue.broker)
    async with run_relay(make_relay(ledger, publisher, poll=timedelta(seconds=0.05))):
        await build.wait_until(lambda: len(queue) == 1)
        async with ledger.transaction() as tx:
            await claims.expire_all_leases(tx)
        await build.wait_until(lambda: build.is_nothing_claimed(ledger))
        await build.accept_event(ledger, tenant)
        await build.wait_until(lambda: publisher.counted >= 2)
        assert len(queue) == 1
        queue.take()
        await build.wait_until(lambda: len(queue) == 1)
    assert len(await build.start_claim(ledger, queue.take()[0])) == 4


async def test_a_relay_survives_lost_ledger_connections(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, shared_url: str
) -> None:
    del endpoint
    queue = Queue()
    own = Ledger(shared_url, application_name="waybill relay")
    async with run_relay(make_relay(own, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: is_listening(ledger))
        await build.fetch_rows(
            ledger,
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name in ('waybill listener', 'waybill relay')
            """,
        )
        await build.accept_event(ledger, tenant)
        await build.wait_until(lambda: len(queue) == 1)
    await own.close()


# ---- background tasks
async def test_a_deleted_endpoint_s_deliveries_are_cancelled(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    await build.accept_events(ledger, tenant, 3)
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE), poll=timedelta(seconds=0.05))):
        await build.wait_until(lambda: is_listening(ledger))
        await build.delete_endpoint(ledger, tenant, endpoint)
        await build.wait_until(lambda: build.is_schedule_empty(ledger))
    found = await build.fetch_rows(ledger, "select distinct status, reason from deliveries")
    assert [tuple(row) for row in found] == [("cancelled", "endpoint_deleted")]
    assert len(queue) == 0


async def test_partitions_are_created_ahead(database_url: str) -> None:
    ledger = Ledger(database_url)
    queue = Queue()

    async def made() -> bool:
        async with ledger.transaction() as tx:
            return await partitions.ensure_partitions(tx, now=clock()) == []

    before = await build.fetch_rows(ledger, "select 1 from pg_inherits where inhparent = 'events'::regclass")
    assert before == []

    async def some() -> bool:
        found = await build.fetch_rows(
            ledger, "select 1 from pg_inherits where inhparent = 'events'::regclass"
        )
        return len(found) > 0

    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(some)
    assert await made()
    await ledger.close()


async def test_stopping_waits_for_a_running_publish(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    del endpoint
    queue = Queue()
    publisher = FailingPublisher(queue.broker)
    publisher.may_go_on.clear()
    relay = make_relay(ledger, publisher)
    await build.accept_event(ledger, tenant)
    running = asyncio.create_task(relay.run())
    await build.wait_until(lambda: publisher.asked == 1)
    relay.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    publisher.may_go_on.set()
    await running
    assert len(queue) == 1


async def test_an_idle_relay_stops_at_once(ledger: Ledger) -> None:
    relay = make_relay(ledger, Publisher(Queue().broker, QUEUE), poll=NEVER)
    running = asyncio.create_task(relay.run())
    await build.wait_until(lambda: is_listening(ledger))
    relay.stop()
    async with asyncio.timeout(10):
        await running
    await build.wait_until(lambda: is_listening(ledger, relays=0))


async def test_claims_refused_during_shutdown_are_released(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    publisher = FailingPublisher(Queue().broker)
    publisher.refuses = True
    publisher.may_go_on.clear()
    relay = make_relay(ledger, publisher)
    await build.accept_event(ledger, tenant)
    running = asyncio.create_task(relay.run())
    await build.wait_until(lambda: publisher.asked == 1)
    relay.stop()
    publisher.may_go_on.set()
    await running
    assert await build.count_rows(ledger, "claims") == 0
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_an_endpoint_with_another_filter_is_not_checked(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("user.*",)))
    queue = Queue()
    async with run_relay(make_relay(ledger, Publisher(queue.broker, QUEUE))):
        await build.wait_until(lambda: is_listening(ledger))
        await build.accept_event(ledger, tenant, "order.created")
        await build.accept_event(ledger, tenant, "user.left")
        await build.wait_until(lambda: len(queue) == 1)
    assert len(await build.start_claim(ledger, queue.take()[0])) == 1
