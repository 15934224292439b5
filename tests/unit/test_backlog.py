"""Whose turn it is: fair to tenants, fair to their endpoints, and nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from delivery.model import EndpointId, TenantId
from workers.backlog import Backlog

if TYPE_CHECKING:
    from delivery.dispatch.claims import Quota

TENANTS, ENDPOINTS = 4, 5
PAIRS = [
    (TenantId(UUID(int=tenant)), EndpointId(UUID(int=tenant * 100 + endpoint)))
    for tenant in range(TENANTS)
    for endpoint in range(ENDPOINTS)
]
TENANT_OF = {endpoint: tenant for tenant, endpoint in PAIRS}
LAYOUTS = st.lists(st.sampled_from(PAIRS), min_size=1, unique=True)


def noted(pairs: list[tuple[TenantId, EndpointId]]) -> Backlog:
    backlog = Backlog()
    backlog.note(pairs)
    return backlog


def in_full(quotas: list[Quota]) -> dict[EndpointId, int]:
    return {quota.endpoint_id: quota.take for quota in quotas}


@given(LAYOUTS, st.integers(0, 100))
def test_the_whole_capacity_is_dealt_out_and_no_more(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    quotas = noted(pairs).share(capacity)
    assert sum(quota.take for quota in quotas) == capacity
    assert all(quota.take > 0 for quota in quotas)
    assert len({quota.endpoint_id for quota in quotas}) == len(quotas)


@given(LAYOUTS, st.integers(1, 100))
def test_shares_differ_by_one_at_most_between_tenants_and_between_a_tenants_endpoints(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    quotas = noted(pairs).share(capacity)
    by_tenant: Counter[TenantId] = Counter()
    for quota in quotas:
        by_tenant[TENANT_OF[quota.endpoint_id]] += quota.take
    assert max(by_tenant.values()) - min(by_tenant.values()) <= 1
    for tenant in by_tenant:
        takes = [quota.take for quota in quotas if TENANT_OF[quota.endpoint_id] == tenant]
        assert max(takes) - min(takes) <= 1


@given(LAYOUTS, st.integers(1, 100))
def test_whoever_gets_nothing_yields_only_to_others_who_get_something(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    tenants = {tenant for tenant, _ in pairs}
    served = {TENANT_OF[quota.endpoint_id] for quota in noted(pairs).share(capacity)}
    assert len(served) == min(capacity, len(tenants))


def test_a_loud_tenant_gets_no_more_than_a_quiet_one() -> None:
    loud = [pair for pair in PAIRS if pair[0] == PAIRS[0][0]]
    quiet = PAIRS[-1]
    assert in_full(noted([*loud, quiet]).share(100)) == {e: 10 for _, e in loud} | {quiet[1]: 50}


def test_who_had_less_than_its_quota_leaves_and_who_had_it_all_goes_last() -> None:
    tenant = PAIRS[0][0]
    first, second, third = [endpoint for _, endpoint in PAIRS[:3]]
    backlog = noted([(tenant, first), (tenant, second), (tenant, third)])
    quotas = backlog.share(2)
    assert [quota.endpoint_id for quota in quotas] == [first, second]
    backlog.served(quotas, {first: 1, second: 0}, {})
    assert len(backlog) == 2
    assert [quota.endpoint_id for quota in backlog.share(3)] == [third, first]


def test_an_empty_backlog_is_false_and_deals_out_nothing() -> None:
    backlog = noted(PAIRS[:1])
    assert backlog
    backlog.served(backlog.share(5), {}, {})
    assert not backlog
    assert len(backlog) == 0
    assert backlog.share(5) == []


def test_a_known_endpoint_keeps_its_place_when_it_is_noted_again() -> None:
    backlog = noted(PAIRS[:2])
    backlog.note(PAIRS[:1])
    assert [quota.endpoint_id for quota in backlog.share(1)] == [PAIRS[0][1]]
    assert len(backlog) == 2


@given(LAYOUTS, st.integers(1, 12))
def test_every_endpoint_is_served_within_a_bounded_number_of_rounds(
    pairs: list[tuple[TenantId, EndpointId]], capacity: int
) -> None:
    backlog = noted(pairs)
    waiting = {endpoint for _, endpoint in pairs}
    for _ in range(TENANTS * ENDPOINTS):
        quotas = backlog.share(capacity)
        waiting -= {quota.endpoint_id for quota in quotas}
        backlog.served(quotas, in_full(quotas), {})  # nobody ever runs out
    assert not waiting


class Rounds(RuleBasedStateMachine):
    """Endpoints come to have work and run out of it; the backlog knows all that have, and serves each."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.due: Counter[EndpointId] = Counter()
        self.waited: Counter[EndpointId] = Counter()

    @rule(pair=st.sampled_from(PAIRS), count=st.integers(1, 30))
    def something_becomes_due(self, pair: tuple[TenantId, EndpointId], count: int) -> None:
        self.due[pair[1]] += count
        self.backlog.note([pair])

    @rule(pair=st.sampled_from(PAIRS))
    def a_false_hint_comes(self, pair: tuple[TenantId, EndpointId]) -> None:
        self.backlog.note([pair])

    @rule(pair=st.sampled_from(PAIRS))
    def somebody_else_takes_it_all(self, pair: tuple[TenantId, EndpointId]) -> None:
        del self.due[pair[1]]

    @rule(capacity=st.integers(1, 40))
    def a_round(self, capacity: int) -> None:
        quotas = self.backlog.share(capacity)
        assert sum(quota.take for quota in quotas) <= capacity
        taken = {q.endpoint_id: min(q.take, self.due[q.endpoint_id]) for q in quotas}
        self.due.subtract(taken)
        self.due = +self.due
        self.backlog.served(quotas, taken, {})
        self.waited = Counter({endpoint: self.waited[endpoint] + 1 for endpoint in self.due})
        for quota in quotas:
            self.waited[quota.endpoint_id] = 0

    @invariant()
    def whoever_has_something_due_is_known(self) -> None:
        known = {quota.endpoint_id for quota in self.backlog.share(10_000)}
        assert set(self.due) <= known
        assert len(self.backlog) == len(known)

    @invariant()
    def nobody_waits_longer_than_it_takes_to_serve_everybody(self) -> None:
        assert all(rounds <= TENANTS * ENDPOINTS for rounds in self.waited.values())


TestRounds = Rounds.TestCase
