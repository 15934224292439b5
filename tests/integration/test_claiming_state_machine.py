"""What endpoints may be sent, on the real ledger, whatever two relays and many workers do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from delivery.clock import clock
from delivery.domain.delivery import Priority
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.domain.ids import DeliveryId, EndpointId
from delivery.ledger.queue import claims, endpoint_health, results
from delivery.pipeline import claiming
from delivery.pipeline.claiming import LOCKED_RETRY_SECONDS, ClaimConfig, Quota
from retries.breaker import BreakerConfig
from retries.health import HealthConfig, Signal
from retries.rate import RateLimit
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import AttemptSignal
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import psycopg

    from delivery.domain.ids import ClaimId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.pipeline.claiming import ClaimRound

MOST = 6  # in flight, for the endpoint that has no limit of its own
RATE = RateLimit(3, timedelta(seconds=30))
LIMITS = (
    EndpointLimits(in_flight=3),
    EndpointLimits(in_flight=8),
    EndpointLimits(in_flight=5, rate=RATE),
    EndpointLimits(),
)
# By failures in a row alone: their share would depend on the very moments.
BREAKER = BreakerConfig(consecutive=2, minimum=1_000, longest_cool_down=timedelta(minutes=2))
DISABLED_AFTER = timedelta(hours=1)
# Beyond every hold that can be: cool-downs, waits, rates.
ALL_OVER = timedelta(minutes=20)
PICK = st.integers(0, 1_000)
QUOTA = st.integers(1, 10)
TOLD = st.one_of(
    st.sampled_from([AttemptSignal(signal) for signal in Signal]),
    st.sampled_from([AttemptSignal(Signal.BAD), AttemptSignal(Signal.GOOD)]),  # most often
    st.sampled_from(
        [AttemptSignal(final_reason="schedule_spent"), AttemptSignal(final_reason="gone", is_gone=True)]
    ),
    st.sampled_from(
        [
            AttemptSignal(Signal.CONGESTED, retry_after=timedelta(seconds=20)),
            AttemptSignal(Signal.CONGESTED, retry_after=timedelta(minutes=5)),
        ]
    ),
)
# As every hold lasts a multiple of that too, none ends between two looks.
PAUSES = st.sampled_from([10, 30, 60, 150]).map(lambda seconds: timedelta(seconds=seconds))


@dataclass(slots=True)
class Stage:
    """What all examples share: a loop, a ledger on it, and a connection to look from outside."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    ledger: Ledger
    outside: psycopg.Connection


@dataclass(frozen=True, slots=True)
class Row:
    """An endpoint as its rows have it, and how much of its could be claimed."""

    state: str
    in_flight: int
    breaker: str
    probe_at: datetime | None
    probe_id: DeliveryId | None
    limit_now: int
    waits_until: datetime | None
    claimable: int
    now: datetime

    def may_be_sent(self, most: int) -> int:
        """How many more may go, beside what a rate limit says."""
        waits = self.waits_until is not None and self.waits_until > self.now
        if self.state != EndpointState.ACTIVE or waits or self.breaker == "half_open":
            return 0
        if self.breaker == "open":
            cooled_down = self.probe_at is not None and self.probe_at <= self.now
            return min(1, max(0, most - self.in_flight)) if cooled_down else 0
        return max(0, min(most, self.limit_now) - self.in_flight)


@dataclass(slots=True)
class InHand:
    """A claim that a worker has started: what is left of it, and when it was started."""

    works: list[ClaimedDelivery]
    since: datetime


@dataclass(slots=True)
class World:
    """What relays, queue and workers hold in their memories; `passed` is how much time was skipped."""

    tenant: TenantId
    limits: dict[EndpointId, EndpointLimits]
    queue: list[ClaimId] = field(default_factory=list)
    at_work: dict[ClaimId, InHand] = field(default_factory=dict)
    passed: timedelta = timedelta(0)
    # When a delivery of the endpoint with a rate limit was claimed: not before, and not after.
    paced: list[tuple[datetime, datetime]] = field(default_factory=list)


class ClaimLife(RuleBasedStateMachine):
    """Everything that changes what may be claimed, one thing after the other and two at once."""

    stage: Stage
    world: World

    @initialize()
    def begin(self) -> None:
        self.stage.outside.execute(
            "delete from schedule; delete from claims; delete from deliveries; delete from endpoint_health"
        )
        self.world = self.stage.run(self._new_world())
        self.events_are_accepted(3)

    async def _new_world(self) -> World:
        tenant = await build.create_tenant(self.stage.ledger)
        limits = {
            await build.create_endpoint(self.stage.ledger, tenant, build.EndpointSpec(limits=each)): each
            for each in LIMITS
        }
        await build.execute(
            self.stage.ledger, "update endpoint_health set limit_now = 10 where limit_now > 10"
        )
        return World(tenant, limits)

    # ---- producers and owners
    @rule(count=st.integers(1, 4))
    def events_are_accepted(self, count: int) -> None:
        self.stage.run(build.accept_events(self.stage.ledger, self.world.tenant, count))

    @rule(pick=PICK, state=st.sampled_from(EndpointState))
    def an_endpoint_is_paused_disabled_or_made_active(self, pick: int, state: EndpointState) -> None:
        self.stage.run(build.set_state(self.stage.ledger, self._endpoint(pick), state))

    @rule(pick=PICK)
    def a_person_lets_an_endpoint_go_on(self, pick: int) -> None:
        endpoint = self._endpoint(pick)
        self._in_ledger(lambda tx: self._forgive(tx, endpoint))
        self.stage.run(build.set_state(self.stage.ledger, endpoint, EndpointState.ACTIVE))
        row = self._rows()[endpoint]
        assert (row.breaker, row.waits_until, row.limit_now) == ("closed", None, 1)

    @staticmethod
    async def _forgive(tx: Transaction, endpoint: EndpointId) -> None:
        standing = (await endpoint_health.lock(tx, [endpoint]))[endpoint]
        await endpoint_health.write(
            tx, {endpoint: standing.health.reset_after_enabling(clock())}, released={}
        )

    # ---- time
    @rule(by=PAUSES)
    def time_passes(self, by: timedelta) -> None:
        self.stage.run(health_attempts.shift_into_past(self.stage.ledger, by))
        self.world.passed += by
        for in_hand in self.world.at_work.values():
            in_hand.since -= by

    @rule(pick=PICK)
    def a_lease_lapses(self, pick: int) -> None:
        found = self._look("select id from claims order by id")
        if found:
            self.stage.run(build.expire_lease(self.stage.ledger, found[pick % len(found)][0]))

    @rule()
    def what_lapsed_is_rescued(self) -> None:
        self.stage.run(build.rescue_lapsed(self.stage.ledger))

    @rule()
    def what_is_in_flight_is_counted_anew_and_was_right(self) -> None:
        self._in_ledger(self._recount)

    @staticmethod
    async def _recount(tx: Transaction) -> None:
        assert await endpoint_health.recount_in_flight(tx) == []

    # ---- relays and queue
    @rule(quotas=st.lists(QUOTA, min_size=4, max_size=4), batch=st.integers(1, 5))
    def a_relay_claims(self, quotas: list[int], batch: int) -> None:
        before, wanted = self._rows(), self._quotas(quotas)
        claimed = self._in_ledger(lambda tx: self._claim(tx, wanted, batch))
        self._check(before, wanted, claimed)
        self.world.queue += claimed.claim_ids

    @rule(first=PICK, quotas=st.lists(QUOTA, min_size=4, max_size=4), commits=st.booleans())
    def a_relay_claims_while_another_one_does(self, first: int, quotas: list[int], commits: bool) -> None:  # noqa: FBT001  hypothesis gives it
        before, wanted = self._rows(), self._quotas(quotas)
        endpoint = self._endpoint(first)
        item, other = self.stage.run(self._claim_both(endpoint, wanted, commits=commits))
        mine = [quota for quota in wanted if quota.endpoint_id == endpoint]
        rest = [quota for quota in wanted if quota.endpoint_id != endpoint]
        if commits:
            self._check(before, mine, item)
            self.world.queue += item.claim_ids
        self._check(before, rest, other)
        assert endpoint not in other.counts_by_endpoint
        if before[endpoint].state == EndpointState.ACTIVE:
            assert other.retry_in_seconds[endpoint] == LOCKED_RETRY_SECONDS
        self.world.queue += other.claim_ids

    async def _claim_both(
        self, endpoint: EndpointId, wanted: Sequence[Quota], *, commits: bool
    ) -> tuple[ClaimRound, ClaimRound]:
        mine = [quota for quota in wanted if quota.endpoint_id == endpoint]
        async with self.stage.ledger.transaction() as tx:
            item = await self._claim(tx, mine, batch=2)
            async with self.stage.ledger.transaction() as second:
                other = await self._claim(second, wanted, batch=3)
            if not commits:
                await tx.rollback()
        return item, other

    @rule(quotas=st.lists(QUOTA, min_size=4, max_size=4), came_through=st.booleans())
    def what_the_broker_does_not_confirm_is_handed_back(self, quotas: list[int], came_through: bool) -> None:  # noqa: FBT001  hypothesis gives it
        before, wanted = self._rows(), self._quotas(quotas)
        claimed = self._in_ledger(lambda tx: self._claim(tx, wanted, 3))
        self._check(before, wanted, claimed)
        for claim_id in claimed.claim_ids[: 1 if came_through else 0]:
            self._start(claim_id)
        self._in_ledger(lambda tx: claims.return_claims(tx, claimed.claim_ids))

    # ---- workers
    @rule(pick=PICK)
    def a_worker_takes_a_message(self, pick: int) -> None:
        if not self.world.queue:
            return
        self._start(self.world.queue.pop(pick % len(self.world.queue)))

    @rule()
    def workers_take_every_message(self) -> None:
        while self.world.queue:
            self._start(self.world.queue.pop())

    def _start(self, claim_id: ClaimId) -> None:
        works = self.stage.run(build.start_claim(self.stage.ledger, claim_id))
        if works:
            works.sort(key=lambda work: (work.endpoint_id, work.delivery_id))
            self.world.at_work[claim_id] = InHand(works, clock())

    @rule(pick=PICK, told=st.lists(TOLD, min_size=1, max_size=5))
    def attempts_end(self, pick: int, told: list[AttemptSignal]) -> None:
        """Perhaps of a worker that was given up for dead long ago."""
        if not self.world.at_work:
            return
        self.stage.run(health_attempts.record_attempts(self.stage.ledger, *self._ended(pick, told)))

    @rule(told=TOLD)
    def all_attempts_end_alike(self, told: AttemptSignal) -> None:
        if not self.world.at_work:
            return
        count = sum(len(in_hand.works) for in_hand in self.world.at_work.values())
        self.stage.run(health_attempts.record_attempts(self.stage.ledger, *self._ended(0, [told] * count)))

    @rule(told=st.lists(TOLD, min_size=1, max_size=3), by=PAUSES)
    def everybody_works_for_a_while(self, told: list[AttemptSignal], by: timedelta) -> None:
        """And all goes well, or nothing does: so breakers open, are probed and close, and limits grow."""
        for each in told:
            self.a_relay_claims([10] * 4, 4)
            self.workers_take_every_message()
            if self.world.at_work:
                self.all_attempts_end_alike(each)
            self.time_passes(by)

    @rule(pick=PICK, told=TOLD, quotas=st.lists(QUOTA, min_size=4, max_size=4))
    def attempts_end_while_a_relay_claims(self, pick: int, told: AttemptSignal, quotas: list[int]) -> None:
        """The second transaction on an endpoint waits, or skips it."""
        if not self.world.at_work:
            return
        before, wanted = self._rows(), self._quotas(quotas)
        ended = self._ended(pick, [told])
        claimed = self.stage.run(self._claim_and_record(wanted, ended))
        self._check(before, wanted, claimed)
        self.world.queue += claimed.claim_ids

    async def _claim_and_record(self, wanted: Sequence[Quota], ended: Sequence[Any]) -> ClaimRound:
        async with self.stage.ledger.transaction() as tx:
            claimed = await self._claim(tx, wanted, batch=3)
            recording_ = asyncio.create_task(health_attempts.record_attempts(self.stage.ledger, *ended))
            await build.wait_until(lambda: self._waits_or_is_done(recording_))
        await recording_
        return claimed

    def _waits_or_is_done(self, task: asyncio.Task[Any]) -> bool:
        return task.done() or bool(
            self._look(
                "select 1 from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock' limit 1"
            )
        )

    def _ended(self, pick: int, told: Sequence[AttemptSignal]) -> list[Any]:
        pairs = [(claim_id, work) for claim_id, held in self.world.at_work.items() for work in held.works]
        chosen = [pairs[(pick + number) % len(pairs)] for number in range(min(len(told), len(pairs)))]
        ended = []
        for (claim_id, work), each in zip(chosen, told, strict=False):
            ended.append(
                health_attempts.make_attempt_result(work, claim_id, self._told(each, claim_id, work))
            )
            self._no_longer_in_hand(claim_id, work)
        return ended

    def _told(self, told: AttemptSignal, claim_id: ClaimId, work: ClaimedDelivery) -> AttemptSignal:
        terms = HealthConfig(BREAKER, self._most(work.endpoint_id), DISABLED_AFTER)
        return AttemptSignal(
            told.signal,
            retry_after=told.retry_after,
            started_at=self.world.at_work[claim_id].since,
            final_reason=told.final_reason,
            is_gone=told.is_gone,
            terms=terms,
        )

    @rule(pick=PICK)
    def a_delivery_is_postponed(self, pick: int) -> None:
        if not self.world.at_work:
            return
        claim_id = list(self.world.at_work)[pick % len(self.world.at_work)]
        work = self.world.at_work[claim_id].works[0]
        self._in_ledger(
            lambda tx: results.postpone(tx, claim_id, [work.delivery_id], delay=timedelta(seconds=10))
        )
        self._no_longer_in_hand(claim_id, work)

    @rule(pick=PICK)
    def a_worker_dies(self, pick: int) -> None:
        if not self.world.at_work:
            return
        del self.world.at_work[list(self.world.at_work)[pick % len(self.world.at_work)]]

    # ---- what must always hold
    @invariant()
    def what_is_in_flight_is_what_claims_hold_and_never_more_than_the_limit(self) -> None:
        found = self._look(
            """
            select h.endpoint_id, h.in_flight, count(s.delivery_id)
            from endpoint_health h left join schedule s
              on s.endpoint_id = h.endpoint_id and s.claim_id is not null
            group by h.endpoint_id
            """
        )
        for endpoint, in_flight, held in found:
            assert in_flight == held <= self._most(endpoint)

    @invariant()
    def there_is_one_probe_exactly_while_a_breaker_is_half_open_and_a_claim_has_it(self) -> None:
        found = self._look(
            """
            select h.breaker = 'half_open', h.probe_id is not null, s.endpoint_id = h.endpoint_id
            from endpoint_health h
            left join schedule s on s.delivery_id = h.probe_id and s.claim_id is not null
            """
        )
        for half_open, known, claimed in found:
            assert half_open == known == bool(claimed)

    @invariant()
    def an_open_breaker_says_when_it_is_probed_and_a_closed_one_does_not(self) -> None:
        found = self._look("select breaker = 'closed', probe_at is null from endpoint_health")
        assert all(closed == nothing_said for closed, nothing_said in found)

    @invariant()
    def a_rate_limit_is_kept_in_any_time_of_its_length(self) -> None:
        for number, (begin, _) in enumerate(self.world.paced):
            within = [end for _, end in self.world.paced[number:] if end - begin < RATE.per]
            assert len(within) <= RATE.limit + RATE.burst

    def teardown(self) -> None:
        """However it went: when all goes well from now on, everything owed is delivered, through a ramp."""
        if not hasattr(self, "world"):
            return
        self.world.at_work.clear()
        self.world.queue.clear()
        self._in_ledger(claims.expire_all_leases)
        self.what_lapsed_is_rescued()
        for endpoint in self.world.limits:
            self.stage.run(build.set_state(self.stage.ledger, endpoint, EndpointState.ACTIVE))
        self.events_are_accepted(1)  # with nothing to send, nothing is found out
        ((owed,),) = self._look(
            "select max(c) from (select count(*) as c from schedule group by endpoint_id) as o"
        )
        for _ in range(owed):  # each endpoint is sent one at least, every time
            self._a_round_in_which_all_goes_well()
        assert self._look("select 1 from schedule") == []
        assert self._look("select 1 from claims") == []
        assert all(row.breaker == "closed" and row.in_flight == 0 for row in self._rows().values())

    def _a_round_in_which_all_goes_well(self) -> None:
        self.time_passes(ALL_OVER)
        before = self._rows()
        self.a_relay_claims([100] * 4, 100)
        self.workers_take_every_message()
        if self.world.at_work:
            self.all_attempts_end_alike(health_attempts.GOOD)
        self.a_rate_limit_is_kept_in_any_time_of_its_length()
        after = self._rows()
        for endpoint, row in before.items():
            if row.claimable and row.breaker == "open":
                assert (after[endpoint].breaker, after[endpoint].limit_now) == ("closed", 1)

    # ---- by hand
    def _endpoint(self, pick: int) -> EndpointId:
        return list(self.world.limits)[pick % len(self.world.limits)]

    def _most(self, endpoint: EndpointId) -> int:
        return self.world.limits[endpoint].in_flight or MOST

    def _quotas(self, takes: Sequence[int]) -> list[Quota]:
        return [Quota(endpoint, take) for endpoint, take in zip(self.world.limits, takes, strict=True)]

    @staticmethod
    async def _claim(tx: Transaction, quotas: Sequence[Quota], batch: int) -> ClaimRound:
        claimed = await claiming.claim_deliveries(
            tx, quotas, ClaimConfig(Priority.LIVE, batch, build.QUEUE_LEASE, MOST)
        )
        # In one order, so that the same choices lead to the same life.
        return replace(claimed, claim_ids=tuple(sorted(claimed.claim_ids)))

    def _rows(self) -> dict[EndpointId, Row]:
        found = self._look(
            """
            select e.id, e.state, h.in_flight, h.breaker, h.probe_at, h.probe_id, h.limit_now, h.waits_until,
                   (select count(*) from schedule s
                    where s.endpoint_id = e.id and s.claim_id is null and s.due_at <= clock_timestamp()),
                   clock_timestamp()
            from endpoint_health h join endpoints e on e.id = h.endpoint_id
            """
        )
        return {EndpointId(row[0]): Row(*row[1:]) for row in found}

    def _check(self, before: dict[EndpointId, Row], wanted: Sequence[Quota], claimed: ClaimRound) -> None:
        """The claimed deliveries are exactly the claimable ones within the limits."""
        after = self._rows()
        for quota in wanted:
            endpoint, row = quota.endpoint_id, before[quota.endpoint_id]
            taken = claimed.counts_by_endpoint.get(endpoint, 0)
            might = min(quota.limit, row.claimable, row.may_be_sent(self._most(endpoint)))
            if self.world.limits[endpoint].rate is None:
                assert taken == might
            else:
                assert taken <= might
                passed = self.world.passed
                self.world.paced += [(row.now + passed, after[endpoint].now + passed)] * taken
            if taken and row.breaker == "open":
                assert (taken, after[endpoint].breaker) == (1, "half_open")

    def _no_longer_in_hand(self, claim_id: ClaimId, work: ClaimedDelivery) -> None:
        works = self.world.at_work[claim_id].works
        works.remove(work)
        if not works:
            del self.world.at_work[claim_id]

    def _in_ledger(self, act: Callable[[Transaction], Coroutine[Any, Any, Any]]) -> Any:
        async def within() -> Any:
            async with self.stage.ledger.transaction() as tx:
                return await act(tx)

        return self.stage.run(within())

    def _look(self, query: str) -> list[Any]:
        return self.stage.outside.execute(query.encode()).fetchall()


def test_claiming_takes_exactly_the_claimable_deliveries(database_url: str) -> None:
    with asyncio.Runner() as runner, connect(database_url) as outside:
        exits = AsyncExitStack()
        ledger = runner.run(exits.enter_async_context(build.open_ledger(database_url, pool_size=3)))
        ClaimLife.stage = Stage(runner.run, ledger, outside)
        try:
            run_machine(
                ClaimLife,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=40,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            runner.run(exits.aclose())


async def test_each_claimed_delivery_uses_one_rate_limit_interval(ledger: Ledger, tenant: TenantId) -> None:
    limits = EndpointLimits(rate=RateLimit(60, timedelta(seconds=3)))  # two may go together
    endpoint = await build.create_endpoint(ledger, tenant, build.EndpointSpec(limits=limits))
    await build.accept_events(ledger, tenant, 5)
    before = clock()
    claimed = await build.claim_deliveries(ledger, [endpoint])
    after = clock()
    assert claimed.delivery_count == 2
    next_at = (await health_attempts.read_health(ledger, endpoint)).next_at
    assert next_at is not None
    assert before <= next_at - timedelta(seconds=0.05) <= after
    assert 0 < claimed.retry_in_seconds[endpoint] <= 0.05


async def test_unused_rate_limit_grants_are_not_counted(ledger: Ledger, tenant: TenantId) -> None:
    limits = EndpointLimits(rate=RateLimit(60, timedelta(minutes=1)))
    endpoint = await build.create_endpoint(ledger, tenant, build.EndpointSpec(limits=limits))
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert (await health_attempts.read_health(ledger, endpoint)).next_at is None
    await build.accept_event(ledger, tenant)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_an_open_breaker_that_has_nothing_due_stays_open_until_there_is_a_probe(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.execute(ledger, "update endpoint_health set breaker = 'open', probe_at = clock_timestamp()")
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert (await health_attempts.read_health(ledger, endpoint)).health.breaker.state == "open"
    await build.accept_events(ledger, tenant, 2)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1
    assert (await health_attempts.read_health(ledger, endpoint)).health.breaker.state == "half_open"
