"""Steps of replay jobs on a real database: a job sends each delivery once, and can recall it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id, new_id
from delivery.domain.pagination import MIN_ID, PageRequest
from delivery.domain.replay import ItemState, MissingEventFilter, ReplayState
from delivery.ledger.replays import jobs as rows_of
from delivery.pipeline.parsing import NewEvent
from delivery.services.replays.runner import ReplayRunner
from delivery.services.replays.service import ReplayService
from delivery.services.replays.validation import NewReplay
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from delivery.domain.ids import ClaimId, DeliveryId, EndpointId, ReplayId, TenantId
    from delivery.domain.replay import Replay
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.claims import ClaimedDelivery

ADA = Actor("cli:ada")
FAILED = DeliveryFilter(statuses=(DeliveryStatus.FAILED,))


@dataclass
class Jobs:
    """A tenant's jobs, and a worker that runs their steps."""

    ledger: Ledger
    tenant: TenantId
    uses: ReplayService
    advancer: ReplayRunner

    async def create(
        self,
        wanted: DeliveryFilter | MissingEventFilter = FAILED,
        *,
        rate: float | None = None,
        hold: bool = False,
    ) -> ReplayId:
        new = NewReplay(wanted, "the receiver lost them", rate=rate, hold=hold)
        return (await self.uses.create(self.tenant, new, operator=False, actor=ADA)).id

    async def step(self, replay: ReplayId) -> Replay:
        await self.advancer.step(replay)
        return await self.read(replay)

    async def read(self, replay: ReplayId) -> Replay:
        return await self.uses.read(self.tenant, replay)

    async def counts(self, replay: ReplayId) -> dict[str, int]:
        """The job's counts, which must equal those of its items."""
        result = {str(state): count for state, count in (await self.read(replay)).counts.items()}
        found = await build.fetch_rows(
            self.ledger,
            "select state, count(*) as n from replay_items where replay_id = :id group by state",
            id=replay,
        )
        assert result == {row.state: row.n for row in found}
        return result

    async def states(self, replay: ReplayId) -> dict[DeliveryId | None, str]:
        page = await self.uses.list_items(
            self.tenant, replay, None, PageRequest(100, after=MIN_ID, oldest_first=True)
        )
        return {item.delivery_id: item.state for item in page.items}


@pytest.fixture
def jobs(ledger: Ledger, tenant: TenantId) -> Jobs:
    return Jobs(
        ledger,
        tenant,
        ReplayService(ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT),
        ReplayRunner(ledger, default_max_in_flight=build.HIGH_IN_FLIGHT),
    )


async def finish(
    ledger: Ledger, endpoint: EndpointId, *, lane: Priority = Priority.LIVE, well: bool = True
) -> list[ClaimedDelivery]:
    """Deliver everything that is due for an endpoint; returns what was sent."""
    sent: list[ClaimedDelivery] = []
    while (taken := await build.claim_deliveries(ledger, [endpoint], lane=lane)).delivery_count:
        for claim_id in taken.claim_ids:
            works = await build.start_claim(ledger, claim_id)
            result = build.make_success if well else build.make_failure
            await build.record_results(ledger, *[result(work, claim_id) for work in works])
            sent += works
    return sent


async def failed(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int) -> list[DeliveryId]:
    """This many failed deliveries."""
    await build.accept_events(ledger, tenant, count)
    return [work.delivery_id for work in await finish(ledger, endpoint, well=False)]


async def test_selected_deliveries_are_replayed_once_at_replay_priority(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    before = await failed(ledger, tenant, endpoint, 30)
    replay = await jobs.create()
    assert (await jobs.step(replay)).selected == 30
    assert await jobs.counts(replay) == {"queued": 30}
    assert await finish(ledger, endpoint, lane=Priority.LIVE) == []
    sent = await finish(ledger, endpoint, lane=Priority.REPLAY)
    assert sorted(work.delivery_id for work in sent) == sorted(before)
    assert {work.attempts for work in sent} == {1}
    over = await jobs.step(replay)
    assert (over.state, over.done, over.remaining) == (ReplayState.FINISHED, 30, 0)
    assert await jobs.counts(replay) == {"succeeded": 30}
    stands = await build.read_delivery_state(ledger, before[0])
    assert (stands.status, stands.recorded) == ("succeeded", 2)
    await jobs.step(replay)
    assert await build.is_schedule_empty(ledger)


async def test_steps_at_the_same_time_take_turns(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 40)
    replay = await jobs.create()
    workers = [ReplayRunner(ledger, default_max_in_flight=build.HIGH_IN_FLIGHT) for _ in range(4)]
    await asyncio.gather(*(worker.step(replay) for worker in workers for _ in range(3)))
    assert await jobs.counts(replay) == {"queued": 40}
    assert len(await finish(ledger, endpoint, lane=Priority.REPLAY)) == 40


async def test_a_job_excludes_later_deliveries(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 3)
    replay = await jobs.create(DeliveryFilter(endpoints=(endpoint,)))
    await asyncio.sleep(0.002)
    await build.accept_events(ledger, tenant, 5)
    assert (await jobs.step(replay)).selected == 3


async def test_the_rate_is_respected(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 20)
    replay = await jobs.create(rate=0.5)
    for _ in range(3):
        await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 20}
    await build.execute(
        ledger, "update replays set paced_at = paced_at - interval '1 hour' where id = :id", id=replay
    )
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 19, "queued": 1}


async def test_an_endpoints_queued_replays_are_bounded(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 300)
    replay = await jobs.create()
    await jobs.step(replay)
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 50, "queued": 250}
    while (await jobs.step(replay)).remaining:
        await finish(ledger, endpoint, lane=Priority.REPLAY)
    assert await jobs.counts(replay) == {"succeeded": 300}


async def test_a_failed_replay_is_retried_and_counted_when_final(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 2)
    replay = await jobs.create()
    await jobs.step(replay)
    claim_id, works = await build.claim_and_start(ledger, endpoint, lane=Priority.REPLAY)
    await build.record_results(ledger, *[build.make_retry(work, claim_id) for work in works])
    assert (await jobs.step(replay)).state is ReplayState.RUNNING
    assert await jobs.counts(replay) == {"retrying": 2}
    claim_id, works = await build.claim_and_start(ledger, endpoint, lane=Priority.REPLAY)
    await build.record_results(
        ledger, build.make_success(works[0], claim_id), build.make_failure(works[1], claim_id)
    )
    assert (await jobs.step(replay)).state is ReplayState.FINISHED
    assert await jobs.counts(replay) == {"succeeded": 1, "failed": 1}


async def test_a_waiting_delivery_becomes_due_and_is_sent_once(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    await build.record_results(
        ledger, *[build.make_retry(work, claim_id, delay=timedelta(hours=2)) for work in works]
    )
    replay = await jobs.create(DeliveryFilter(statuses=(DeliveryStatus.PENDING,)))
    await jobs.step(replay)
    assert len(await finish(ledger, endpoint, lane=Priority.REPLAY)) == 3
    assert await finish(ledger, endpoint, lane=Priority.LIVE) == []
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"succeeded": 3}


async def test_a_delivery_in_flight_is_not_sent_again(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    replay = await jobs.create(DeliveryFilter(endpoints=(endpoint,)))
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"queued": 2}
    await build.record_results(ledger, *[build.make_success(work, claim_id) for work in works])
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"succeeded": 2}
    assert await build.is_schedule_empty(ledger)


async def test_overlapping_jobs_send_once_and_both_count_it(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 5)
    first = await jobs.create()
    second = await jobs.create(DeliveryFilter(endpoints=(endpoint,)))
    await jobs.step(first)
    await jobs.step(second)
    assert len(await finish(ledger, endpoint, lane=Priority.REPLAY)) == 5
    for replay in (first, second):
        await jobs.step(replay)
        assert await jobs.counts(replay) == {"succeeded": 5}


# ------------------------------------------------------------------ pause, resume, cancel
async def test_a_pause_recalls_queued_deliveries_until_resumed(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    ids = await failed(ledger, tenant, endpoint, 6)
    replay = await jobs.create()
    await jobs.step(replay)
    claim_id, works = await claimed_some(ledger, endpoint, 2)
    assert (await jobs.uses.pause(tenant, replay, reason="wait", actor=ADA)).state is ReplayState.PAUSED
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 4, "queued": 2}
    assert await build.count_rows(ledger, "schedule") == 2
    back = next(id_ for id_ in ids if id_ not in {work.delivery_id for work in works})
    stands = await build.read_delivery_state(ledger, back)
    assert (stands.status, stands.reason, stands.attempts) == ("failed", "too_large", 1)
    await build.record_results(ledger, *[build.make_success(work, claim_id) for work in works])
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 4, "succeeded": 2}
    assert await due(ledger, replay) is False
    await jobs.uses.resume(tenant, replay, actor=ADA)
    await jobs.step(replay)
    assert len(await finish(ledger, endpoint, lane=Priority.REPLAY)) == 4
    assert (await jobs.step(replay)).state is ReplayState.FINISHED


async def test_a_cancelled_job_restores_the_previous_state(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    ids = await failed(ledger, tenant, endpoint, 3)
    later = timedelta(hours=2)
    await build.accept_events(ledger, tenant, 1)
    claim_id, (waits,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_retry(waits, claim_id, delay=later))
    before = await everything(ledger)
    replay = await jobs.create(DeliveryFilter(endpoints=(endpoint,)))
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"queued": 4}
    assert (await jobs.uses.cancel(tenant, replay, actor=ADA)).state is ReplayState.CANCELLING
    over = await jobs.step(replay)
    assert over.state is ReplayState.CANCELLED
    assert await jobs.counts(replay) == {"cancelled": 4}
    assert await everything(ledger) == before
    assert {
        row.delivery_id for row in await build.fetch_rows(ledger, "select delivery_id from failures")
    } == set(ids)
    assert await due(ledger, replay) is False


async def test_failed_deliveries_of_a_cancelled_job_are_not_retried(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    (id_,) = await failed(ledger, tenant, endpoint, 1)
    replay = await jobs.create()
    await jobs.step(replay)
    claim_id, works = await build.claim_and_start(ledger, endpoint, lane=Priority.REPLAY)
    await build.record_results(
        ledger, *[build.make_retry(work, claim_id, delay=timedelta(hours=1)) for work in works]
    )
    await jobs.step(replay)
    await jobs.uses.cancel(tenant, replay, actor=ADA)
    assert (await jobs.step(replay)).state is ReplayState.CANCELLED
    stands = await build.read_delivery_state(ledger, id_)
    assert (stands.status, stands.scheduled, stands.attempts) == ("failed", False, 2)


async def test_deliveries_of_another_job_are_left_to_it(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    (id_,) = await failed(ledger, tenant, endpoint, 1)
    first, second = await jobs.create(), await jobs.create(DeliveryFilter(endpoints=(endpoint,)))
    await jobs.step(first)
    await jobs.step(second)
    await jobs.uses.cancel(tenant, first, actor=ADA)
    await jobs.step(first)
    assert await jobs.counts(first) == {"cancelled": 1}
    assert (await build.read_delivery_state(ledger, id_)).scheduled
    await jobs.uses.cancel(tenant, second, actor=ADA)
    await jobs.step(second)
    assert (await build.read_delivery_state(ledger, id_)).status == "failed"


# ------------------------------------------------------------------ what cannot be sent
@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        ("update events set body = null", "payload_gone"),
        ("update endpoints set deleted_at = now()", "endpoint_deleted"),
        ("update endpoints set state = 'disabled'", "endpoint_disabled"),
    ],
)
async def test_unsendable_deliveries_are_skipped_with_a_reason(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId, spoiled: str, why: str
) -> None:
    await failed(ledger, tenant, endpoint, 2)
    replay = await jobs.create()
    await build.execute(ledger, spoiled)
    assert (await jobs.step(replay)).state is ReplayState.FINISHED
    assert await jobs.counts(replay) == {"skipped": 2}
    found = await build.fetch_rows(ledger, "select distinct why from replay_items")
    assert [row.why for row in found] == [why]
    assert await build.is_schedule_empty(ledger)


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED])
async def test_with_hold_it_waits_until_the_endpoint_is_active(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId, state: EndpointState
) -> None:
    await failed(ledger, tenant, endpoint, 2)
    await build.set_state(ledger, endpoint, state)
    replay = await jobs.create(hold=True)
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"waiting": 2}
    await build.set_state(ledger, endpoint, EndpointState.ACTIVE)
    await jobs.step(replay)
    assert await jobs.counts(replay) == {"queued": 2}


# ------------------------------------------------------------------ what was never owed
async def test_missing_events_are_owed_once(jobs: Jobs, ledger: Ledger, tenant: TenantId) -> None:
    await build.accept_events(ledger, tenant, 4)
    await build.accept_event(ledger, tenant, "user.left")
    late = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 2)
    wanted = MissingEventFilter(late, types=("order.*",))
    first, second = await jobs.create(wanted), await jobs.create(wanted)
    for replay in (first, second):
        await jobs.step(replay)
    assert await jobs.counts(first) == {"queued": 4}
    assert await jobs.counts(second) == {}
    sent = await finish(ledger, late, lane=Priority.REPLAY)
    assert len({work.event_id for work in sent}) == len(sent) == 4
    assert (await jobs.step(first)).state is ReplayState.FINISHED
    owed = await build.fetch_row(ledger, "select count(*) from deliveries where endpoint_id = :id", id=late)
    assert owed[0] == 6


async def test_two_jobs_with_the_same_missing_events_owe_them_once(
    jobs: Jobs, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 5)
    late = await build.create_endpoint(ledger, tenant)
    await build.set_state(ledger, late, EndpointState.PAUSED)
    wanted = MissingEventFilter(late)
    both = [await jobs.create(wanted, hold=True) for _ in range(2)]
    for replay in both:
        await jobs.step(replay)
        assert await jobs.counts(replay) == {"waiting": 5}
    await build.set_state(ledger, late, EndpointState.ACTIVE)
    await asyncio.gather(*(ReplayRunner(ledger, default_max_in_flight=9).step(replay) for replay in both))
    result = [await jobs.counts(replay) for replay in both]
    assert sorted(result, key=str) == [{"queued": 5}, {"skipped": 5}]


async def test_a_cancelled_job_keeps_created_deliveries(jobs: Jobs, ledger: Ledger, tenant: TenantId) -> None:
    await build.accept_events(ledger, tenant, 2)
    late = await build.create_endpoint(ledger, tenant)
    replay = await jobs.create(MissingEventFilter(late))
    await jobs.step(replay)
    await jobs.uses.cancel(tenant, replay, actor=ADA)
    await jobs.step(replay)
    (id_, _) = await build.list_delivery_ids(ledger, late)
    stands = await build.read_delivery_state(ledger, id_)
    assert (stands.status, stands.reason, stands.scheduled) == ("cancelled", "replay_cancelled", False)


# ------------------------------------------------------------------ whose step it is
async def test_jobs_take_turns(jobs: Jobs, ledger: Ledger) -> None:
    created = [await jobs.create() for _ in range(3)]
    async with ledger.transaction() as tx:
        first = await rows_of.claim_due(tx, limit=2, lease=timedelta(seconds=5))
    async with ledger.transaction() as tx:
        then = await rows_of.claim_due(tx, limit=2, lease=timedelta(seconds=5))
    assert sorted([*first, *then]) == sorted(created)


async def test_a_step_reads_only_the_items_that_it_moves(shared_url: str) -> None:
    async with build.open_ledger(shared_url, pool_size=1) as ledger:
        await build.empty_ledger(ledger)
        tenant = await build.create_tenant(ledger)
        endpoint = await build.create_endpoint(ledger, tenant)
        await failed(ledger, tenant, endpoint, 20)
        advancer, uses = (
            ReplayRunner(ledger, default_max_in_flight=9),
            ReplayService(ledger, clock=clock, default_max_in_flight=9),
        )
        created = await uses.create(tenant, NewReplay(FAILED, "so"), operator=False, actor=ADA)
        await build.execute(ledger, OVER_ALREADY, replay=created.id, endpoint=endpoint)
        await build.execute(ledger, "analyze replay_items")  # as autovacuum does soon after many inserts
        before = await items_read(ledger)
        await advancer.step(created.id)
        await finish(ledger, endpoint, lane=Priority.REPLAY)
        await advancer.step(created.id)
        assert (await uses.read(tenant, created.id)).counts == {ItemState.SUCCEEDED: 20}
        assert await items_read(ledger) - before < 1_000


OVER_ALREADY = """
    insert into replay_items (replay_id, delivery_id, endpoint_id, event_id, state)
    select :replay, gen_random_uuid(), :endpoint, gen_random_uuid(), 'succeeded' from generate_series(1, 3000)
"""


async def items_read(ledger: Ledger) -> int:
    """How many entries of the indexes of `replay_items` were read so far, over the only connection."""
    await build.fetch_row(ledger, "select pg_stat_force_next_flush()")
    row = await build.fetch_row(
        ledger, "select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'replay_items'"
    )
    return int(row[0])


async def test_empty_replay_step_changes_nothing(jobs: Jobs) -> None:
    await jobs.advancer.step(new_id())  # type: ignore[arg-type]


async def claimed_some(
    ledger: Ledger, endpoint: EndpointId, count: int
) -> tuple[ClaimId, list[ClaimedDelivery]]:
    taken = await build.claim_deliveries(ledger, [endpoint], take=count, lane=Priority.REPLAY)
    (claim_id,) = taken.claim_ids
    return claim_id, await build.start_claim(ledger, claim_id)


async def everything(ledger: Ledger) -> list[object]:
    """The state of all deliveries, in both of their rows."""
    history = await build.fetch_rows(
        ledger,
        "select id, status, reason, attempts, finished_at, outcome, http_status, sequence from deliveries"
        " order by id",
    )
    present = await build.fetch_rows(
        ledger,
        "select delivery_id, lane, due_at, attempts, step, claim_id from schedule order by delivery_id",
    )
    return [tuple(row) for row in (*history, *present)]


async def due(ledger: Ledger, replay: ReplayId) -> bool:
    row = await build.fetch_row(ledger, "select next_at is not null from replays where id = :id", id=replay)
    return bool(row[0])


async def test_a_finished_job_is_journaled(
    jobs: Jobs, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await failed(ledger, tenant, endpoint, 1)
    replay = await jobs.create()
    await jobs.step(replay)
    await finish(ledger, endpoint, lane=Priority.REPLAY)
    await jobs.step(replay)
    found = await build.fetch_rows(
        ledger, "select what, actor, details from journal where what like 'replay.%' order by id"
    )
    assert [(row.what, row.actor) for row in found] == [
        ("replay.created", "cli:ada"),
        ("replay.finished", "waybill"),
    ]
    assert found[1].details == {"replay_id": format_id(Prefix.REPLAY, replay), "succeeded": 1}


async def test_missing_events_are_matched_by_channels_and_condition(
    ledger: Ledger, tenant: TenantId, jobs: Jobs
) -> None:
    events = [
        NewEvent("order.created", b'{"n": %d}' % number, ("eu",) if number % 2 else ("us",))
        for number in range(120)
    ]
    await build.make_intake(ledger).accept_events(tenant, events, single=False)
    wanted = build.EndpointSpec(channels=("eu", "asia"), condition="n >= `100`")
    endpoint = await build.create_endpoint(ledger, tenant, wanted)
    replay = await jobs.create(MissingEventFilter(endpoint))
    while (await jobs.step(replay)).selecting:
        pass
    assert sum((await jobs.counts(replay)).values()) == 10
    found = await build.fetch_rows(
        ledger,
        """
        select convert_from(body, 'utf8')::json -> 'data' ->> 'n' as n, channels
        from events join replay_items on event_id = id where replay_id = :id
        """,
        id=replay,
    )
    assert {int(row.n) for row in found} == set(range(101, 120, 2))
    assert all(row.channels == ["eu"] for row in found)
