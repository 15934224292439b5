"""Grants of the relay's quotas, and when endpoints that got less are looked at again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.delivery import Priority
from delivery.domain.ids import EndpointId
from delivery.ledger.queue.claims import ClaimGrant
from delivery.ledger.queue.endpoint_health import EndpointGate, EndpointHealthRow
from delivery.pipeline.claiming import ClaimConfig, Quota, grant_quotas
from retries.breaker import Breaker, BreakerState
from retries.health import Health
from retries.limit import InFlightLimit
from retries.rate import RateLimit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ENDPOINT = EndpointId(UUID(int=1))
DEFAULT = 50
LIVE = ClaimConfig(Priority.LIVE, batch_size=100, lease=SECOND, default_max_in_flight=DEFAULT)
REPLAYS = replace(LIVE, priority=Priority.REPLAY)
FRESH = Health(Breaker.fresh(NOW), InFlightLimit(1_000, ramping=False))
OPEN = replace(
    FRESH, breaker=replace(FRESH.breaker, state=BreakerState.OPEN, probe_at=NOW - SECOND, openings=1)
)
# One every half second, without bursts.
RATE = RateLimit(2, SECOND)


def gate(
    health: Health = FRESH,
    *,
    in_flight: int = 0,
    most: int | None = None,
    rate: RateLimit | None = None,
    next_at: datetime | None = None,
) -> EndpointGate:
    return EndpointGate(EndpointHealthRow(ENDPOINT, health, in_flight, None, next_at), most, rate, NOW)


def grant_one(
    gate: EndpointGate, *, take: int = 10, terms: ClaimConfig = LIVE
) -> tuple[list[ClaimGrant], float | None]:
    """Grant one endpoint's quota; returns the count and in how many seconds to look again."""
    grants, later = grant_quotas([Quota(ENDPOINT, take)], {ENDPOINT: gate}, terms)
    assert later.keys() <= {ENDPOINT}
    return grants, later.get(ENDPOINT)


def test_a_healthy_endpoint_gets_its_quota() -> None:
    assert grant_one(gate()) == ([ClaimGrant(ENDPOINT, 10)], None)


def test_endpoint_without_a_gate_gets_no_grant_and_no_retry_time() -> None:
    assert grant_quotas([Quota(ENDPOINT, 10)], {}, LIVE) == ([], {})


# ---- in flight
@pytest.mark.parametrize(("in_flight", "granted"), [(0, 8), (5, 3), (7, 1)])
def test_grant_is_capped_by_free_in_flight_slots_without_retry_time(in_flight: int, granted: int) -> None:
    assert grant_one(gate(most=8, in_flight=in_flight)) == ([ClaimGrant(ENDPOINT, granted)], None)


@pytest.mark.parametrize("in_flight", [8, 9, 100])
def test_endpoint_at_its_limit_gets_no_grant_and_no_retry_time(in_flight: int) -> None:
    assert grant_one(gate(most=8, in_flight=in_flight)) == ([], None)


def test_the_default_limit_applies_without_an_own_limit() -> None:
    assert grant_one(gate(in_flight=DEFAULT - 4)) == ([ClaimGrant(ENDPOINT, 4)], None)


def test_the_health_limit_applies_below_the_own_limit() -> None:
    ramping = replace(FRESH, limit=InFlightLimit(4, ramping=True))
    assert grant_one(gate(ramping, most=8, in_flight=1)) == ([ClaimGrant(ENDPOINT, 3)], None)


# ---- the rate limit
def test_a_rate_limit_grants_some_now_and_gives_the_retry_time() -> None:
    grants, later = grant_one(gate(rate=RATE))
    assert grants == [ClaimGrant(ENDPOINT, 1, rate_from=NOW, interval=SECOND / 2)]
    assert later == 0.5


def test_an_exhausted_rate_limit_gives_the_retry_time() -> None:
    assert grant_one(gate(rate=RATE, next_at=NOW + 0.3 * SECOND)) == ([], 0.3)


def test_rate_limit_granting_the_whole_quota_gives_no_retry_time() -> None:
    grants, later = grant_one(gate(rate=RATE), take=1)
    assert (grants, later) == ([ClaimGrant(ENDPOINT, 1, rate_from=NOW, interval=SECOND / 2)], None)


def test_a_high_rate_allows_a_burst_of_a_tenth_of_a_second() -> None:
    millisecond = SECOND / 1_000
    grants, later = grant_one(gate(rate=RateLimit(1_000, SECOND), most=1_000), take=400)
    assert grants == [ClaimGrant(ENDPOINT, 100, rate_from=NOW - 99 * millisecond, interval=millisecond)]
    assert later == 0.001


def test_rate_limit_gives_no_retry_time_at_the_in_flight_limit() -> None:
    assert grant_one(gate(rate=RATE, most=3, in_flight=3, next_at=NOW + SECOND)) == ([], None)


# ---- the breaker
def test_an_open_breaker_gives_the_time_of_its_probe() -> None:
    cooling = replace(OPEN, breaker=replace(OPEN.breaker, probe_at=NOW + 12 * SECOND))
    assert grant_one(gate(cooling)) == ([], 12)


def test_cooled_down_breaker_grants_one_probe_without_retry_time() -> None:
    assert grant_one(gate(OPEN)) == ([ClaimGrant(ENDPOINT, 1, probe=True)], None)


def test_outstanding_probe_blocks_grants_without_retry_time() -> None:
    out = replace(OPEN, breaker=replace(OPEN.breaker, state=BreakerState.HALF_OPEN))
    assert grant_one(gate(out)) == ([], None)


def test_a_probe_counts_for_the_rate_limit_too() -> None:
    probe = ClaimGrant(ENDPOINT, 1, probe=True, rate_from=NOW, interval=SECOND / 2)
    assert grant_one(gate(OPEN, rate=RATE)) == ([probe], None)
    assert grant_one(gate(OPEN, rate=RATE, next_at=NOW + SECOND)) == ([], 1)


# ---- requested waits
def test_a_requested_wait_blocks_grants_until_its_end() -> None:
    waits = replace(FRESH, waits_until=NOW + 40 * SECOND)
    assert grant_one(gate(waits)) == ([], 40)
    assert grant_one(gate(replace(waits, waits_until=NOW))) == ([ClaimGrant(ENDPOINT, 10)], None)


# ---- combined
GATES = st.builds(
    gate,
    st.builds(
        replace,
        st.sampled_from([FRESH, OPEN]),
        limit=st.builds(InFlightLimit, st.integers(1, 60), st.booleans()),
        waits_until=st.sampled_from([None, None, NOW - SECOND, NOW + SECOND]),
    ),
    in_flight=st.integers(0, 60),
    most=st.none() | st.integers(1, 60),
    rate=st.none() | st.builds(RateLimit, st.integers(1, 2_000), st.just(SECOND)),
    next_at=st.none() | st.floats(-2, 2).map(lambda seconds: NOW + seconds * SECOND),
)
LINES = st.dictionaries(
    st.uuids().map(EndpointId), st.tuples(st.integers(1, 100), st.none() | GATES), max_size=8
)


@given(LINES)
def test_grants_never_exceed_quota_or_in_flight_limit(
    line: dict[EndpointId, tuple[int, EndpointGate | None]],
) -> None:
    quotas = [Quota(endpoint, take) for endpoint, (take, _) in line.items()]
    gates = {endpoint: gate for endpoint, (_, gate) in line.items() if gate is not None}
    grants, later = grant_quotas(quotas, gates, LIVE)
    assert [grant.endpoint_id for grant in grants] == [
        e for e in line if e in {g.endpoint_id for g in grants}
    ]
    assert later.keys() <= gates.keys()
    assert all(seconds > 0 for seconds in later.values())
    for grant in grants:
        take, found = line[grant.endpoint_id]
        assert found is not None
        assert 0 < grant.limit <= take
        assert found.health_row.in_flight + grant.limit <= (found.max_in_flight or DEFAULT)
        assert (grant.interval is None) == (grant.rate_from is None) == (found.rate is None)
        assert not grant.probe or grant.limit == 1


@given(LINES)
def test_each_endpoint_is_granted_by_its_own_gate(
    line: dict[EndpointId, tuple[int, EndpointGate | None]],
) -> None:
    quotas = [Quota(endpoint, take) for endpoint, (take, _) in line.items()]
    gates = {endpoint: gate for endpoint, (_, gate) in line.items() if gate is not None}
    grants, later = grant_quotas(quotas, gates, LIVE)
    for quota in quotas:
        own, its_later = grant_quotas([quota], gates, LIVE)
        assert own == [grant for grant in grants if grant.endpoint_id == quota.endpoint_id]
        assert its_later.get(quota.endpoint_id) == later.get(quota.endpoint_id)


# ---- replays
@pytest.mark.parametrize(("in_flight", "granted"), [(0, 4), (3, 1)])
def test_replays_leave_half_of_an_endpoint_s_slots_to_live_work(in_flight: int, granted: int) -> None:
    assert grant_one(gate(most=8, in_flight=in_flight), terms=REPLAYS) == (
        [ClaimGrant(ENDPOINT, granted)],
        None,
    )


@pytest.mark.parametrize("in_flight", [4, 7, 8])
def test_replays_wait_when_live_work_uses_half_the_slots(in_flight: int) -> None:
    assert grant_one(gate(most=8, in_flight=in_flight), terms=REPLAYS) == ([], None)


def test_replays_may_use_a_limit_of_one() -> None:
    assert grant_one(gate(most=1), terms=REPLAYS) == ([ClaimGrant(ENDPOINT, 1)], None)


def test_a_replay_may_be_the_probe_of_an_open_breaker() -> None:
    (grant,), _ = grant_one(gate(OPEN, most=8, in_flight=4), terms=REPLAYS)
    assert (grant.limit, grant.probe) == (1, True)


@given(LINES)
def test_replays_are_never_granted_more_than_live_work(
    line: dict[EndpointId, tuple[int, EndpointGate | None]],
) -> None:
    quotas = [Quota(endpoint, take) for endpoint, (take, _) in line.items()]
    gates = {endpoint: gate for endpoint, (_, gate) in line.items() if gate is not None}
    live = {grant.endpoint_id: grant.limit for grant in grant_quotas(quotas, gates, LIVE)[0]}
    for grant in grant_quotas(quotas, gates, REPLAYS)[0]:
        assert grant.limit <= live[grant.endpoint_id]
