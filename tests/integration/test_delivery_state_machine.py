"""A delivery's life on the real ledger, whatever happens to relay, queue and workers, in whatever order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from delivery.domain.endpoint import EndpointState
from delivery.domain.event_patterns import matches_any_pattern
from delivery.domain.ids import ClaimId, DeliveryId, EndpointId, EventId
from delivery.ledger.queue import claims, expiry, results
from delivery.pipeline.parsing import NewEvent
from tests.support import ledger_builders as build
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from uuid import UUID

    import psycopg

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.ledger.queue.results import RecordedAttempt
    from delivery.pipeline.intake import Intake

FILTERS = (("*",), ("order.*",), ("user.left",))
TYPES = ("order.created", "order.paid", "user.left", "nobody.cares")
FINAL = {"succeeded", "failed", "cancelled"}
PICK = st.integers(0, 1_000)


@dataclass(slots=True)
class Stage:
    """What all examples share: a loop, a ledger on it, and a connection to look from outside."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    ledger: Ledger
    outside: psycopg.Connection


@dataclass(slots=True)
class Seen:
    """Facts about a delivery that must stay true."""

    attempts: int = 0
    final: str | None = None


@dataclass(slots=True)
class World:
    """What relay, queue and workers hold in their memories."""

    tenant: TenantId
    endpoints: list[EndpointId]
    accepter: Intake
    filters: dict[EndpointId, tuple[str, ...]]
    owed: dict[EventId, set[EndpointId]] = field(default_factory=dict)
    queue: list[ClaimId] = field(default_factory=list)
    unconfirmed: list[ClaimId] = field(default_factory=list)
    at_work: dict[ClaimId, list[ClaimedDelivery]] = field(default_factory=dict)
    lapsed: set[ClaimId] = field(default_factory=set)
    seen: dict[DeliveryId, Seen] = field(default_factory=dict)
    recorded: int = 0


def _made(work: ClaimedDelivery) -> DeliveryId:
    """One order for each run of an example, whatever the ledger's is."""
    return work.delivery_id


class Life(RuleBasedStateMachine):
    """Everything that can happen, one thing after the other."""

    stage: Stage
    world: World

    @initialize()
    def begin(self) -> None:
        self.stage.outside.execute(
            "delete from schedule; delete from claims; update endpoint_health set in_flight = 0"
        )
        self.world = self.stage.run(self._new_world())
        self.events_are_accepted(["order.created", "user.left"])

    async def _new_world(self) -> World:
        tenant = await build.create_tenant(self.stage.ledger)
        filters: dict[EndpointId, tuple[str, ...]] = {
            await build.create_endpoint(
                self.stage.ledger, tenant, build.EndpointSpec(filter=patterns)
            ): patterns
            for patterns in FILTERS
        }
        return World(tenant, list(filters), build.make_intake(self.stage.ledger), filters)

    # ---- producers and owners
    @rule(types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    def events_are_accepted(self, types: list[str]) -> None:
        before = {
            row[0] for row in self._look("select id from events where tenant_id = %s", self.world.tenant)
        }
        events = [NewEvent(each, b"1") for each in types]
        self.stage.run(self.world.accepter.accept_events(self.world.tenant, events, single=False))
        rows = self._look("select id, type from events where tenant_id = %s", self.world.tenant)
        created = {EventId(id_): type_ for id_, type_ in rows if id_ not in before}
        assert sorted(created.values()) == sorted(types)
        for event, type_ in created.items():
            self.world.owed[event] = {
                e for e, f in self.world.filters.items() if matches_any_pattern(f, type_)
            }

    @rule(pick=PICK, state=st.sampled_from(EndpointState))
    def an_endpoint_is_paused_disabled_or_resumed(self, pick: int, state: EndpointState) -> None:
        self.stage.run(build.set_state(self.stage.ledger, self._one_of(self.world.endpoints, pick), state))

    @precondition(lambda self: len(self.world.filters) > 1)
    @rule(pick=PICK)
    def an_endpoint_is_deleted_and_its_deliveries_cancelled(self, pick: int) -> None:
        endpoint = self._one_of(list(self.world.filters), pick)
        del self.world.filters[endpoint]
        self.stage.run(build.delete_endpoint(self.stage.ledger, self.world.tenant, endpoint))
        self.what_deleted_endpoints_are_owed_is_cancelled()

    @rule()
    def what_deleted_endpoints_are_owed_is_cancelled(self) -> None:
        self._in_ledger(lambda tx: expiry.cancel_for_deleted_endpoints(tx, self.world.endpoints))

    # ---- relay and queue
    @rule(take=st.integers(1, 5), batch=st.integers(1, 4), message=st.sampled_from(["confirmed", "lost"]))
    def the_relay_claims_and_publishes(self, take: int, batch: int, message: str) -> None:
        taken = self.stage.run(
            build.claim_deliveries(self.stage.ledger, self.world.endpoints, take=take, batch=batch)
        )
        if message == "confirmed":
            self.world.queue += sorted(taken.claim_ids)

    @rule(take=st.integers(1, 5), came_through=st.booleans(), started=st.booleans())
    def what_the_broker_does_not_confirm_is_handed_back(
        self,
        take: int,
        came_through: bool,  # noqa: FBT001  hypothesis gives it
        started: bool,  # noqa: FBT001  hypothesis gives it
    ) -> None:
        taken = self.stage.run(build.claim_deliveries(self.stage.ledger, self.world.endpoints, take=take))
        if came_through:
            self.world.queue += sorted(taken.claim_ids)
        if came_through and started:
            for claim_id in sorted(taken.claim_ids):
                self._start(claim_id)
        self._in_ledger(lambda tx: claims.return_claims(tx, taken.claim_ids))

    @rule()
    def time_passes_and_retries_are_due(self) -> None:
        self.stage.outside.execute("update schedule set due_at = clock_timestamp()")

    @rule(pick=PICK)
    def a_lease_lapses(self, pick: int) -> None:
        claims = [row[0] for row in self._look("select id from claims order by id")]
        if claims:
            claim_id = self._one_of(claims, pick)
            self.stage.run(build.expire_lease(self.stage.ledger, claim_id))
            self.world.lapsed.add(claim_id)

    @rule()
    def what_lapsed_is_rescued(self) -> None:
        self.stage.run(build.rescue_lapsed(self.stage.ledger))

    # ---- workers
    @precondition(lambda self: self.world.queue)
    @rule(pick=PICK, acknowledged=st.booleans())
    def a_worker_takes_a_message(self, pick: int, acknowledged: bool) -> None:  # noqa: FBT001  hypothesis gives it
        claim_id = self._one_of(self.world.queue, pick)
        if acknowledged:  # otherwise it will come again
            self.world.queue.remove(claim_id)
        self._start(claim_id)

    def _start(self, claim_id: ClaimId) -> None:
        works = sorted(self.stage.run(build.start_claim(self.stage.ledger, claim_id)), key=_made)
        if works:
            assert claim_id not in self.world.at_work  # no claim starts twice
            self.world.at_work[claim_id] = works
            self.world.lapsed.discard(claim_id)

    @precondition(lambda self: self.world.at_work)
    @rule(
        pick=PICK,
        outcomes=st.lists(st.sampled_from(["success", "failure", "again", "soon"]), min_size=1, max_size=4),
    )
    def results_are_recorded(self, pick: int, outcomes: list[str]) -> None:
        """Perhaps by a worker that was given up for dead long ago."""
        pairs = [(work, claim_id) for claim_id, works in self.world.at_work.items() for work in works]
        chosen = [pairs[(pick + number) % len(pairs)] for number in range(min(len(outcomes), len(pairs)))]
        results = [self._result(outcome, *pair) for outcome, pair in zip(outcomes, chosen, strict=False)]
        self.stage.run(build.record_results(self.stage.ledger, *results))
        self.world.recorded += len(results)
        for work, claim_id in chosen:
            self._no_longer_at_work(claim_id, work)

    @precondition(lambda self: self.world.at_work)
    @rule(pick=PICK)
    def a_delivery_is_postponed(self, pick: int) -> None:
        claim_id = self._one_of(list(self.world.at_work), pick)
        work = self._one_of(self.world.at_work[claim_id], pick)
        self._in_ledger(
            lambda tx: results.postpone(tx, claim_id, [work.delivery_id], delay=timedelta(minutes=1))
        )
        self._no_longer_at_work(claim_id, work)

    @precondition(lambda self: self.world.at_work)
    @rule(pick=PICK)
    def a_worker_dies(self, pick: int) -> None:
        del self.world.at_work[self._one_of(list(self.world.at_work), pick)]

    # ---- what must always hold
    @invariant()
    def every_event_has_one_delivery_for_each_endpoint_that_matched(self) -> None:
        rows = self._look(
            "select event_id, endpoint_id from deliveries where tenant_id = %s", self.world.tenant
        )
        pairs = sorted(
            (event, endpoint) for event, endpoints in self.world.owed.items() for endpoint in endpoints
        )
        assert sorted(rows) == pairs

    @invariant()
    def a_delivery_is_final_exactly_when_it_is_not_scheduled(self) -> None:
        rows = self._look(
            """
            select d.status, d.reason, d.finished_at is null, s.delivery_id is null
            from deliveries d left join schedule s on s.delivery_id = d.id where d.tenant_id = %s
            """,
            self.world.tenant,
        )
        for status, reason, unfinished, unscheduled in rows:
            assert (status in FINAL) == unscheduled == (not unfinished) == (reason is not None)

    @invariant()
    def claims_count_what_they_hold_and_nothing_is_held_by_a_claim_that_is_not(self) -> None:
        rows = self._look(
            """
            select c.remaining, count(s.delivery_id) from claims c full join schedule s on s.claim_id = c.id
            where c.id is not null or s.claim_id is not null group by c.id
            """
        )
        assert all(remaining == held and held > 0 for remaining, held in rows)

    @invariant()
    def an_endpoint_s_count_of_what_is_in_flight_is_what_claims_hold(self) -> None:
        rows = self._look(
            """
            select h.in_flight, count(s.delivery_id) from endpoint_health h
            left join schedule s on s.endpoint_id = h.endpoint_id and s.claim_id is not null
            group by h.endpoint_id
            """
        )
        assert all(counted == held for counted, held in rows)

    @invariant()
    def no_delivery_is_at_work_under_two_leases(self) -> None:
        holding = self.world.at_work.keys() - self.world.lapsed
        at_work = [work.delivery_id for claim_id in holding for work in self.world.at_work[claim_id]]
        assert len(at_work) == len(set(at_work))

    @invariant()
    def no_attempt_is_lost_or_taken_back_and_what_is_final_stays(self) -> None:
        rows = self._look(
            """
            select d.id, d.status, coalesce(s.attempts, d.attempts)
            from deliveries d left join schedule s on s.delivery_id = d.id where d.tenant_id = %s
            """,
            self.world.tenant,
        )
        for id_, status, attempts in rows:
            seen = self.world.seen.setdefault(id_, Seen())
            assert attempts >= seen.attempts
            assert seen.final in (None, status)
            seen.attempts, seen.final = attempts, status if status in FINAL else None
        ((stored,),) = self._look("select count(*) from attempts where tenant_id = %s", self.world.tenant)
        assert stored == self.world.recorded

    def teardown(self) -> None:
        """However it went: when everybody does his work again, everything that is owed comes to an end."""
        if not hasattr(self, "world"):
            return
        self.world.at_work.clear()
        self.world.queue.clear()
        for endpoint in self.world.filters:
            self.stage.run(build.set_state(self.stage.ledger, endpoint, EndpointState.ACTIVE))
        self._in_ledger(claims.expire_all_leases)
        self.what_lapsed_is_rescued()
        self.time_passes_and_retries_are_due()
        self.what_deleted_endpoints_are_owed_is_cancelled()
        taken = self.stage.run(
            build.claim_deliveries(self.stage.ledger, self.world.endpoints, take=1_000, batch=100)
        )
        for claim_id in taken.claim_ids:
            works = self.stage.run(build.start_claim(self.stage.ledger, claim_id))
            self.stage.run(
                build.record_results(
                    self.stage.ledger, *[build.make_success(work, claim_id) for work in works]
                )
            )
        assert self._look("select 1 from schedule") == []
        assert self._look("select 1 from claims") == []

    # ---- by hand
    def _result(self, outcome: str, work: ClaimedDelivery, claim_id: ClaimId) -> RecordedAttempt:
        match outcome:
            case "success":
                return build.make_success(work, claim_id)
            case "failure":
                return build.make_failure(work, claim_id)
            case "soon":
                return build.make_retry(work, claim_id, steps=0)
            case _:
                return build.make_retry(work, claim_id, delay=timedelta(hours=1))

    def _no_longer_at_work(self, claim_id: ClaimId, work: ClaimedDelivery) -> None:
        self.world.at_work[claim_id].remove(work)
        if not self.world.at_work[claim_id]:
            del self.world.at_work[claim_id]

    def _in_ledger(self, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        async def within() -> None:
            async with self.stage.ledger.transaction() as tx:
                await act(tx)

        self.stage.run(within())

    def _look(self, query: str, *values: UUID) -> list[Any]:
        return self.stage.outside.execute(query.encode(), values).fetchall()

    @staticmethod
    def _one_of(things: list[Any], pick: int) -> Any:
        return things[pick % len(things)]


def test_delivery_invariants_hold_for_any_sequence_of_operations(database_url: str) -> None:
    with asyncio.Runner() as runner, connect(database_url) as outside:
        exits = AsyncExitStack()
        ledger = runner.run(exits.enter_async_context(build.open_ledger(database_url, pool_size=2)))
        Life.stage = Stage(runner.run, ledger, outside)
        try:
            run_machine(
                Life,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=40,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            runner.run(exits.aclose())
