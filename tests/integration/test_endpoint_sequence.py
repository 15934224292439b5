"""The numbers of an endpoint's deliveries, on the real ledger: no gap, no double, whoever claims and when.

A partner reads along all the time and must be able to believe what it sees: every number once, in order.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery import Priority
from delivery.ledger.queue import claims, expiry, results
from delivery.pipeline import claiming
from delivery.pipeline.claiming import ClaimConfig, Quota
from delivery.services.deliveries import DeliveryService
from tests.support import ledger_builders as build
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import psycopg

    from delivery.domain.ids import ClaimId, DeliveryId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.ledger.queue.results import RecordedAttempt
    from delivery.pipeline.claiming import ClaimRound

PICK = st.integers(0, 1_000)
TAKE = st.integers(1, 6)
LANE = st.sampled_from(Priority)
# The result of an attempt.
ENDS = (build.make_success, build.make_failure, build.make_retry)
PARTNER = 3  # as many numbers as it reads at a time
SOMEBODY = Actor("test")


@dataclass(slots=True)
class Stage:
    """What all examples share: a loop, a ledger on it, and a connection to look from outside."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    ledger: Ledger
    outside: psycopg.Connection


@dataclass(slots=True)
class World:
    """What relays, queue and workers hold, what the partner has seen, and what each delivery is known as."""

    tenant: TenantId
    endpoints: list[EndpointId]
    queue: list[ClaimId] = field(default_factory=list)
    at_work: list[tuple[ClaimId, ClaimedDelivery]] = field(default_factory=list)
    seen: dict[EndpointId, list[DeliveryId]] = field(default_factory=dict)
    known: dict[DeliveryId, int] = field(default_factory=dict)


class NumbersOfEndpoints(RuleBasedStateMachine):
    """Everything that claims, gives back, ends and reopens deliveries, one after the other and at once."""

    stage: Stage
    world: World

    @initialize()
    def begin(self) -> None:
        self.stage.outside.execute("delete from schedule; delete from claims; delete from deliveries")
        self.world = self.stage.run(self._new_world())
        self.events_are_accepted(4)

    async def _new_world(self) -> World:
        tenant = await build.create_tenant(self.stage.ledger)
        endpoints = [await build.create_endpoint(self.stage.ledger, tenant) for _ in range(2)]
        return World(tenant, endpoints, seen={endpoint: [] for endpoint in endpoints})

    # ---- producers and people
    @rule(count=st.integers(1, 5))
    def events_are_accepted(self, count: int) -> None:
        self.stage.run(build.accept_events(self.stage.ledger, self.world.tenant, count))

    @rule(pick=PICK, lane=LANE)
    def a_delivery_that_is_over_or_waits_is_replayed(self, pick: int, lane: Priority) -> None:
        found = self._look(
            """
            select d.id from deliveries d left join schedule s on s.delivery_id = d.id
            where s.claim_id is null order by d.id
            """
        )
        if found:
            (delivery_id,) = found[pick % len(found)]
            self.stage.run(self._deliveries().replay(self.world.tenant, delivery_id, actor=SOMEBODY))
            self.stage.outside.execute(
                "update schedule set lane = %s where delivery_id = %s", [lane, delivery_id]
            )

    @rule()
    def what_no_claim_has_is_owed_for_too_long_and_ends(self) -> None:
        """A delivery that was never sent ends without a number, and gets one if it is replayed."""
        soon = clock() + timedelta(seconds=1)
        self._in_ledger(lambda tx: expiry.expire_deliveries(tx, older_than=timedelta(0), now=soon))

    # ---- relays
    @rule(take=TAKE, lane=LANE, batch=st.integers(1, 4))
    def a_relay_claims(self, take: int, lane: Priority, batch: int) -> None:
        self.world.queue += self._in_ledger(lambda tx: self._claim(tx, take, lane, batch)).claim_ids

    @rule(takes=st.tuples(TAKE, TAKE, TAKE), lanes=st.tuples(LANE, LANE, LANE))
    def three_relays_claim_at_once_and_the_partner_reads(
        self, takes: tuple[int, int, int], lanes: tuple[Priority, Priority, Priority]
    ) -> None:
        self.stage.run(self._race(takes, lanes))

    async def _race(self, takes: Sequence[int], lanes: Sequence[Priority]) -> None:
        racers = [self._claim_alone(take, lane) for take, lane in zip(takes, lanes, strict=True)]
        claimed, _ = await asyncio.gather(asyncio.gather(*racers), self._read_along())
        self.world.queue += [claim_id for item in claimed for claim_id in item.claim_ids]

    async def _claim_alone(self, take: int, lane: Priority) -> ClaimRound:
        async with self.stage.ledger.transaction() as tx:
            return await self._claim(tx, take, lane, 2)

    @rule(take=TAKE, lane=LANE, commits=st.booleans())
    def a_relay_claims_and_another_one_tries_before_it_commits(
        self,
        take: int,
        lane: Priority,
        commits: bool,  # noqa: FBT001  hypothesis gives it
    ) -> None:
        self.world.queue += self.stage.run(self._claim_within_claim(take, lane, commits=commits))

    async def _claim_within_claim(self, take: int, lane: Priority, *, commits: bool) -> list[ClaimId]:
        async with self.stage.ledger.transaction() as tx:
            first = await self._claim(tx, take, lane, 2)
            second = await self._claim_alone(take, lane)
            await self._read_along()
            if not commits:
                await tx.rollback()
        return [*(first.claim_ids if commits else ()), *second.claim_ids]

    @rule(take=TAKE, lane=LANE)
    def what_the_broker_does_not_confirm_is_handed_back(self, take: int, lane: Priority) -> None:
        claimed = self._in_ledger(lambda tx: self._claim(tx, take, lane, 2))
        self._in_ledger(lambda tx: claims.return_claims(tx, claimed.claim_ids))

    @rule(pick=PICK)
    def a_lease_lapses_and_is_rescued(self, pick: int) -> None:
        found = self._look("select id from claims order by id")
        if found:
            self.stage.run(build.expire_lease(self.stage.ledger, found[pick % len(found)][0]))
            self.stage.run(build.rescue_lapsed(self.stage.ledger))

    # ---- workers
    @rule()
    def workers_take_every_message(self) -> None:
        while self.world.queue:
            claim_id = self.world.queue.pop()
            self.world.at_work += [
                (claim_id, work) for work in self.stage.run(build.start_claim(self.stage.ledger, claim_id))
            ]

    @rule(ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=8))
    def attempts_end(self, ends: list[Callable[[ClaimedDelivery, ClaimId], RecordedAttempt]]) -> None:
        """Perhaps of a claim that was rescued long ago."""
        todo, self.world.at_work = self.world.at_work[: len(ends)], self.world.at_work[len(ends) :]
        if todo:
            results = [end(work, claim_id) for (claim_id, work), end in zip(todo, ends, strict=False)]
            self.stage.run(build.record_results(self.stage.ledger, *results))

    @rule()
    def a_delivery_is_postponed(self) -> None:
        if self.world.at_work:
            claim_id, work = self.world.at_work.pop(0)
            later = timedelta(0)
            self._in_ledger(lambda tx: results.postpone(tx, claim_id, [work.delivery_id], delay=later))

    # ---- what must always hold
    @rule()
    def the_partner_reads(self) -> None:
        self.stage.run(self._read_along())

    async def _read_along(self) -> None:
        """From where it has read up to: what follows is the very next number, and nothing is left out."""
        for endpoint, seen in self.world.seen.items():
            page = await self._deliveries().list_by_sequence(
                self.world.tenant, endpoint, len(seen), limit=PARTNER
            )
            result = [item.sequence for item in page.items]
            assert result == list(range(len(seen) + 1, len(seen) + 1 + len(result)))
            assert page.latest >= len(seen) + len(result)
            assert page.next_sequence == (result[-1] if page.latest > len(seen) + len(result) else None)
            seen += [item.delivery_id for item in page.items]

    @invariant()
    def numbers_have_no_gap_and_no_double_and_the_latest_is_the_last(self) -> None:
        for endpoint in self.world.endpoints:
            found = self._look(
                "select sequence, delivery_id from endpoint_sequence where endpoint_id = %s order by 1",
                endpoint,
            )
            assert [sequence for sequence, _ in found] == list(range(1, len(found) + 1))
            assert len({delivery_id for _, delivery_id in found}) == len(found)
            latest = self._look("select sequence from endpoint_health where endpoint_id = %s", endpoint)
            assert latest == [(len(found),)]

    @invariant()
    def a_delivery_keeps_its_number_wherever_it_is_written(self) -> None:
        found = self._look(
            """
            select d.id, n.sequence, coalesce(s.sequence, d.sequence), s.claim_id is not null, d.attempts
            from deliveries d
            left join schedule s on s.delivery_id = d.id
            left join endpoint_sequence n on n.delivery_id = d.id
            """
        )
        for delivery_id, entered, own, claimed, attempts in found:
            assert own == entered
            assert own is not None or not (claimed or attempts)
            assert self.world.known.setdefault(delivery_id, own) == own if own else True

    @invariant()
    def what_goes_out_carries_the_number_that_the_partner_is_told(self) -> None:
        for _, work in self.world.at_work:
            assert self.world.known[work.delivery_id] == work.sequence

    def teardown(self) -> None:
        """In any case the partner has seen every delivery that was sent, once."""
        if not hasattr(self, "world"):
            return
        for _ in range(len(self.world.known) // PARTNER + 1):
            self.the_partner_reads()
        for endpoint, seen in self.world.seen.items():
            expected = self._look(
                "select delivery_id from endpoint_sequence where endpoint_id = %s order by sequence", endpoint
            )
            assert [(delivery_id,) for delivery_id in seen] == expected

    # ---- by hand
    async def _claim(self, tx: Transaction, take: int, lane: Priority, batch: int) -> ClaimRound:
        quotas = [Quota(endpoint, take) for endpoint in self.world.endpoints]
        return await claiming.claim_deliveries(
            tx, quotas, ClaimConfig(lane, batch, build.QUEUE_LEASE, build.HIGH_IN_FLIGHT)
        )

    def _deliveries(self) -> DeliveryService:
        return DeliveryService(self.stage.ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)

    def _in_ledger(self, act: Callable[[Transaction], Coroutine[Any, Any, Any]]) -> Any:
        async def within() -> Any:
            async with self.stage.ledger.transaction() as tx:
                return await act(tx)

        return self.stage.run(within())

    def _look(self, query: str, *values: object) -> list[Any]:
        return self.stage.outside.execute(query.encode(), values).fetchall()


def test_endpoint_sequences_have_no_gaps_or_duplicates(database_url: str) -> None:
    with asyncio.Runner() as runner, connect(database_url) as outside:
        exits = AsyncExitStack()
        ledger = runner.run(exits.enter_async_context(build.open_ledger(database_url, pool_size=5)))
        NumbersOfEndpoints.stage = Stage(runner.run, ledger, outside)
        try:
            run_machine(
                NumbersOfEndpoints,
                settings=settings(
                    max_examples=10,
                    stateful_step_count=20,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            runner.run(exits.aclose())
