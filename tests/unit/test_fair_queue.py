"""The fair queue is fair to tenants and to their endpoints, and none waits for ever."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from delivery.domain.ids import EndpointId, TenantId
from workers.relay.fair_queue import FairQueue

if TYPE_CHECKING:
    from delivery.pipeline.claiming import Quota

TENANTS, ENDPOINTS = 4, 5
PAIRS = [
    (TenantId(UUID(int=tenant)), EndpointId(UUID(int=tenant * 100 + endpoint)))
    for tenant in range(TENANTS)
    for endpoint in range(ENDPOINTS)
]
TENANT_OF = {endpoint: tenant for tenant, endpoint in PAIRS}
LAYOUTS = st.lists(st.sampled_from(PAIRS), min_size=1, unique=True)


def make_queue(pairs: list[tuple[TenantId, EndpointId]]) -> FairQueue:
    queue = FairQueue()
    queue.add_due(pairs)
    return queue


def limits_by_endpoint(quotas: list[Quota]) -> dict[EndpointId, int]:
    return {quota.endpoint_id: quota.limit for quota in quotas}


@given(LAYOUTS, st.integers(0, 100))
def test_quotas_add_up_to_the_capacity(pairs: list[tuple[TenantId, EndpointId]], capacity: int) -> None:
    quotas = make_queue(pairs).split_capacity(capacity)
    assert sum(quota.limit for quota in quotas) == capacity
    assert all(quota.limit > 0 for quota in quotas)
    assert len({quota.endpoint_id for quota in quotas}) == len(quotas)


@given(LAYOUTS, st.integers(1, 100))
def test_shares_differ_by_at_most_one_per_tenant_and_endpoint(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    quotas = make_queue(pairs).split_capacity(capacity)
    by_tenant: Counter[TenantId] = Counter()
    for quota in quotas:
        by_tenant[TENANT_OF[quota.endpoint_id]] += quota.limit
    assert max(by_tenant.values()) - min(by_tenant.values()) <= 1
    for tenant in by_tenant:
        limits = [quota.limit for quota in quotas if TENANT_OF[quota.endpoint_id] == tenant]
        assert max(limits) - min(limits) <= 1


@given(LAYOUTS, st.integers(1, 100))
def test_every_tenant_is_served_while_capacity_lasts(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    tenants = {tenant for tenant, _ in pairs}
    served = {TENANT_OF[quota.endpoint_id] for quota in make_queue(pairs).split_capacity(capacity)}
    assert len(served) == min(capacity, len(tenants))


def test_a_busy_tenant_gets_no_more_than_a_quiet_one() -> None:
    busy = [pair for pair in PAIRS if pair[0] == PAIRS[0][0]]
    quiet = PAIRS[-1]
    assert limits_by_endpoint(make_queue([*busy, quiet]).split_capacity(100)) == {e: 10 for _, e in busy} | {
        quiet[1]: 50
    }


def test_drained_endpoints_leave_and_full_ones_requeue_last() -> None:
    tenant = PAIRS[0][0]
    first, second, third = [endpoint for _, endpoint in PAIRS[:3]]
    queue = make_queue([(tenant, first), (tenant, second), (tenant, third)])
    quotas = queue.split_capacity(2)
    assert [quota.endpoint_id for quota in quotas] == [first, second]
    queue.record_served(quotas, {first: 1, second: 0}, {})
    assert len(queue) == 2
    assert [quota.endpoint_id for quota in queue.split_capacity(3)] == [third, first]


def test_an_empty_queue_is_false_and_grants_nothing() -> None:
    queue = make_queue(PAIRS[:1])
    assert queue
    queue.record_served(queue.split_capacity(5), {}, {})
    assert not queue
    assert len(queue) == 0
    assert queue.split_capacity(5) == []


def test_a_queued_endpoint_keeps_its_position_when_added_again() -> None:
    queue = make_queue(PAIRS[:2])
    queue.add_due(PAIRS[:1])
    assert [quota.endpoint_id for quota in queue.split_capacity(1)] == [PAIRS[0][1]]
    assert len(queue) == 2


@given(LAYOUTS, st.integers(1, 12))
def test_every_endpoint_is_served_within_a_bounded_number_of_rounds(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    queue = make_queue(pairs)
    waiting = {endpoint for _, endpoint in pairs}
    for _ in range(TENANTS * ENDPOINTS):
        quotas = queue.split_capacity(capacity)
        waiting -= {quota.endpoint_id for quota in quotas}
        queue.record_served(quotas, limits_by_endpoint(quotas), {})  # all use their whole quota
    assert not waiting


# ---- deferred endpoints
def defer(queue: FairQueue, *moments: float) -> list[EndpointId]:
    """Serve the first endpoints nothing, and defer each until its time."""
    quotas = queue.split_capacity(len(moments))
    endpoints = [quota.endpoint_id for quota in quotas]
    queue.record_served(quotas, {}, dict(zip(endpoints, moments, strict=True)))
    return endpoints


def test_queue_without_deferred_endpoints_has_no_wakeup() -> None:
    queue = make_queue(PAIRS[:3])
    assert queue.next_at == math.inf
    queue.record_served(queue.split_capacity(3), {}, {})
    assert queue.next_at == math.inf
    queue.promote_delayed(1e9)
    assert not queue


def test_deferred_endpoint_is_hidden_until_its_time() -> None:
    queue = make_queue(PAIRS[:1])
    defer(queue, 7.0)
    assert not queue
    assert queue.split_capacity(10) == []
    queue.promote_delayed(6.9)
    assert not queue
    assert queue.next_at == 7.0
    queue.promote_delayed(7.0)
    assert limits_by_endpoint(queue.split_capacity(10)) == {PAIRS[0][1]: 10}
    assert queue.next_at == math.inf


def test_next_wakeup_is_the_earliest_of_all_tenants() -> None:
    queue = make_queue([PAIRS[0], PAIRS[ENDPOINTS], PAIRS[2 * ENDPOINTS]])
    first, second, third = defer(queue, 9.0, 5.0, 8.0)
    assert queue.next_at == 5.0
    queue.promote_delayed(8.5)
    assert {quota.endpoint_id for quota in queue.split_capacity(10)} == {second, third}
    assert queue.next_at == 9.0
    queue.promote_delayed(9.0)
    assert first in limits_by_endpoint(queue.split_capacity(10))


def test_deferred_endpoint_rejoins_at_the_back() -> None:
    queue = make_queue(PAIRS[:1])
    defer(queue, 1.0)
    queue.add_due(PAIRS[1:3])
    queue.promote_delayed(1.0)
    order = [quota.endpoint_id for quota in queue.split_capacity(3)]
    assert order == [PAIRS[1][1], PAIRS[2][1], PAIRS[0][1]]


def test_endpoint_that_used_its_quota_stays_despite_a_later_time() -> None:
    queue = make_queue(PAIRS[:1])
    quotas = queue.split_capacity(4)
    queue.record_served(quotas, {PAIRS[0][1]: 4}, {PAIRS[0][1]: 3.0})
    assert queue
    assert queue.next_at == math.inf


def test_endpoint_that_used_part_of_its_quota_is_deferred() -> None:
    queue = make_queue(PAIRS[:1])
    queue.record_served(queue.split_capacity(4), {PAIRS[0][1]: 3}, {PAIRS[0][1]: 3.0})
    assert not queue
    assert queue.next_at == 3.0


def test_notification_ends_a_deferral() -> None:
    queue = make_queue(PAIRS[:1])
    defer(queue, 50.0)
    queue.add_due(PAIRS[:1])
    assert limits_by_endpoint(queue.split_capacity(3)) == {PAIRS[0][1]: 3}


def test_deferring_again_replaces_the_earlier_time() -> None:
    queue = make_queue(PAIRS[:1])
    defer(queue, 50.0)
    queue.add_due(PAIRS[:1])
    defer(queue, 60.0)
    assert queue.next_at == 60.0
    queue.promote_delayed(55.0)
    assert not queue
    queue.promote_delayed(60.0)
    assert len(queue) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(PAIRS), st.floats(0, 100)), min_size=1, unique_by=lambda each: each[0]
    ),
    st.lists(st.floats(0, 100)),
)
def test_deferred_endpoints_appear_exactly_at_their_time(
    deferred: list[tuple[tuple[TenantId, EndpointId], float]], times: list[float]
) -> None:
    queue = make_queue([pair for pair, _ in deferred])
    moments = {pair[1]: moment for pair, moment in deferred}
    queue.record_served(queue.split_capacity(1_000), {}, moments)
    for now in sorted(times):
        queue.promote_delayed(now)
        assert limits_by_endpoint(queue.split_capacity(1_000)).keys() == {
            e for e, moment in moments.items() if moment <= now
        }
        assert queue.next_at == min((m for m in moments.values() if m > now), default=math.inf)


class Rounds(RuleBasedStateMachine):
    """Endpoints get work and run out of it; the queue has all that have some, and serves each."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.due: Counter[EndpointId] = Counter()
        self.later: dict[EndpointId, float] = {}
        self.now = 0.0
        self.waited: Counter[EndpointId] = Counter()

    @rule(pair=st.sampled_from(PAIRS), count=st.integers(1, 30))
    def something_becomes_due(self, pair: tuple[TenantId, EndpointId], count: int) -> None:
        self.due[pair[1]] += count
        self.queue.add_due([pair])

    @rule(pair=st.sampled_from(PAIRS))
    def an_endpoint_is_added_with_nothing_due(self, pair: tuple[TenantId, EndpointId]) -> None:
        self.queue.add_due([pair])

    @rule(pair=st.sampled_from(PAIRS))
    def another_relay_claims_everything(self, pair: tuple[TenantId, EndpointId]) -> None:
        del self.due[pair[1]]

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.queue.promote_delayed(self.now)
        self.later = {endpoint: at for endpoint, at in self.later.items() if at > self.now}

    @rule(capacity=st.integers(1, 40))
    def a_round(self, capacity: int) -> None:
        self.a_round_with_held_endpoints(capacity, set(), 1)

    @rule(capacity=st.integers(1, 40), held=st.sets(st.sampled_from(PAIRS)), seconds=st.floats(0.001, 5))
    def a_round_with_held_endpoints(
        self, capacity: int, held: set[tuple[TenantId, EndpointId]], seconds: float
    ) -> None:
        quotas = self.queue.split_capacity(capacity)
        assert sum(quota.limit for quota in quotas) <= capacity
        later = {endpoint: self.now + seconds for _, endpoint in held}
        taken = {
            q.endpoint_id: min(q.limit, self.due[q.endpoint_id]) for q in quotas if q.endpoint_id not in later
        }
        self.due.subtract(taken)
        self.due = +self.due
        self.queue.record_served(quotas, taken, later)
        waiting = self.due.keys() & self.queued()
        self.waited = Counter({endpoint: self.waited[endpoint] + 1 for endpoint in waiting})
        for quota in quotas:
            self.waited[quota.endpoint_id] = 0
            if quota.endpoint_id in later:
                self.later[quota.endpoint_id] = later[quota.endpoint_id]

    def queued(self) -> set[EndpointId]:
        return {quota.endpoint_id for quota in self.queue.split_capacity(10_000)}

    @invariant()
    def every_due_endpoint_is_queued_or_deferred(self) -> None:
        assert set(self.due) <= self.queued() | self.later.keys()
        assert len(self.queue) == len(self.queued())
        assert self.queue.next_at == min(self.later.values(), default=math.inf)

    @invariant()
    def no_endpoint_waits_longer_than_serving_all_takes(self) -> None:
        assert all(rounds <= TENANTS * ENDPOINTS for rounds in self.waited.values())


TestRounds = Rounds.TestCase
