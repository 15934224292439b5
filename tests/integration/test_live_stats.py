"""Live statistics: queued, started, waiting and held deliveries, and unhealthy endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.ledger.stats.live import MAX_COUNTED, MAX_ENDPOINTS, MAX_ENDPOINTS_SCANNED
from delivery.services.replays.service import ReplayService
from delivery.services.replays.validation import NewReplay
from delivery.services.stats.service import MAX_DUE_PER_ENDPOINT, MAX_REPLAYS, MAX_UNHEALTHY, StatsService
from retries.health import Hold
from retries.rate import RateLimit
from tests.support import ledger_builders as build
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, ReplayId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.services.stats.service import LiveStats

OPEN = """
update endpoint_health set breaker = 'open', breaker_since = now() - interval '5 min',
    probe_at = now() + interval '1 h' where endpoint_id = :id
"""
WAITS = "update endpoint_health set waits_until = now() + interval '1 h' where endpoint_id = :id"
SPENT = "update endpoint_health set rate_next_at = now() + interval '1 h' where endpoint_id = :id"
OWED = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
select gen_random_uuid(), :tenant, :endpoint, gen_random_uuid(), now() - interval '1 s'
from generate_series(1, :count)
"""
OWED_TO_MANY = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
select gen_random_uuid(), :tenant, cast(lpad(to_hex(n), 32, '0') as uuid), gen_random_uuid(), now()
from generate_series(1, :count) as n
"""
DUE_SINCE = "update schedule set due_at = now() + cast(:ago as interval) where endpoint_id = :id"
# Endpoints that a rate limit might hold, created before all others.
RATED = """
insert into endpoints (id, tenant_id, url, description, filter, state, state_changed_at, header_names,
                       signature, rate_limit, rate_per_seconds, created_at, updated_at)
select cast(lpad(to_hex(n), 32, '0') as uuid), :tenant, '', '', '{*}', 'active', now(), '{}',
       'v1', 1, 1, now(), now()
from generate_series(1, :count) as n
"""
FAILED = DeliveryFilter(statuses=(DeliveryStatus.FAILED,))


@dataclass(frozen=True, slots=True)
class Site:
    """A database, and its live statistics."""

    ledger: Ledger
    tenant: TenantId

    async def now(self, tenant: TenantId | None = None) -> LiveStats:
        """The live statistics; of all tenants without a tenant."""
        return await StatsService(
            self.ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT
        ).load_live_stats(tenant)

    async def owed(self, count: int, wanted: EndpointSpec | None = None) -> EndpointId:
        """A new endpoint with this many due deliveries."""
        endpoint = await build.create_endpoint(self.ledger, self.tenant, wanted)
        await build.execute(self.ledger, OWED, tenant=self.tenant, endpoint=endpoint, count=count)
        return endpoint

    async def due(self, endpoint: EndpointId, *, ago: timedelta) -> None:
        """Make all deliveries of an endpoint due since then."""
        await build.execute(self.ledger, DUE_SINCE, ago=-ago, id=endpoint)


@pytest.fixture
def site(ledger: Ledger, tenant: TenantId) -> Site:
    return Site(ledger, tenant)


@pytest.fixture
async def neighbour(ledger: Ledger) -> Site:
    """The same database, seen by another tenant."""
    return Site(ledger, await build.create_tenant(ledger))


async def test_live_stats_are_zero_without_deliveries(site: Site) -> None:
    for tenant in (None, site.tenant):
        now = await site.now(tenant)
        assert (now.queued, now.started, now.waiting, now.bounded) == (0, 0, 0, False)
        assert (now.oldest, now.held, now.held_bounded) == (None, {}, False)
        assert (now.unhealthy, now.has_more_unhealthy, now.replays) == ([], False, [])


# ---- on the way, and waiting
async def test_waiting_queued_and_started_deliveries_are_distinguished(
    site: Site, neighbour: Site, ledger: Ledger
) -> None:
    endpoint = await build.create_endpoint(ledger, site.tenant)
    await build.accept_events(ledger, site.tenant, 9)
    (taken,) = (await build.claim_deliveries(ledger, [endpoint], take=4)).claim_ids
    works = await build.start_claim(ledger, taken)
    await build.claim_deliveries(ledger, [endpoint], take=3)
    await neighbour.owed(1)
    now = await site.now(site.tenant)
    assert (now.started, now.queued, now.waiting) == (4, 3, 2)
    await build.record_results(ledger, build.make_success(works[0], taken))
    now = await site.now(site.tenant)
    assert (now.started, now.queued, now.waiting) == (3, 3, 2)
    everybody = await site.now()
    assert (everybody.started, everybody.queued, everybody.waiting) == (3, 3, 3)


async def test_waiting_replays_are_counted(site: Site, ledger: Ledger) -> None:
    endpoint = await site.owed(3)
    await build.execute(ledger, "update schedule set lane = :lane", lane=int(Priority.REPLAY))
    assert (await site.now(site.tenant)).waiting == 3
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    assert (await site.now(site.tenant)).held == {Hold.PAUSED: 3}


async def test_waiting_deliveries_are_counted_up_to_a_bound(site: Site) -> None:
    await site.owed(MAX_COUNTED)
    now = await site.now()
    assert (now.waiting, now.bounded) == (MAX_COUNTED, False)
    await site.owed(1)
    for tenant in (None, site.tenant):
        now = await site.now(tenant)
        assert (now.waiting, now.bounded) == (MAX_COUNTED, True)


# ---- the oldest
async def test_the_oldest_is_the_longest_due_of_all_endpoints(site: Site) -> None:
    newer, oldest, newest = [await site.owed(2) for _ in range(3)]
    for number, endpoint in enumerate((newest, newer, oldest)):
        await site.due(endpoint, ago=timedelta(minutes=number))
    found = (await site.now()).oldest
    assert found is not None
    row = await build.fetch_row(
        site.ledger, "select endpoint_id, due_at from schedule where delivery_id = :id", id=found.delivery_id
    )
    assert (row.endpoint_id, row.due_at) == (oldest, found.due_at)


async def test_a_future_delivery_is_not_the_oldest(site: Site) -> None:
    await site.due(await site.owed(1), ago=-timedelta(minutes=5))
    assert (await site.now()).oldest is None


@pytest.mark.parametrize("held", ["paused", "disabled", OPEN, WAITS, SPENT])
async def test_a_held_delivery_is_not_the_oldest(site: Site, ledger: Ledger, held: str) -> None:
    endpoint = await site.owed(1)
    await site.due(endpoint, ago=timedelta(hours=1))
    assert (await site.now()).oldest is not None
    if held in set(EndpointState):
        await build.set_state(ledger, endpoint, EndpointState(held))
    else:
        await build.execute(ledger, held, id=endpoint)
    for tenant in (None, site.tenant):
        assert (await site.now(tenant)).oldest is None


async def test_oldest_delivery_of_a_tenant_ignores_other_tenants(
    site: Site, neighbour: Site, ledger: Ledger
) -> None:
    # To endpoints that are looked at before any of the tenant's.
    await build.execute(ledger, OWED_TO_MANY, tenant=neighbour.tenant, count=MAX_ENDPOINTS_SCANNED)
    await site.owed(1)
    assert (await site.now(site.tenant)).oldest is not None


async def test_a_tenants_oldest_is_its_own_delivery(site: Site, neighbour: Site) -> None:
    await neighbour.due(await neighbour.owed(1), ago=timedelta(hours=1))
    assert (await site.now(site.tenant)).oldest is None
    mine = await site.owed(1)
    await site.due(mine, ago=timedelta(minutes=1))
    found = (await site.now(site.tenant)).oldest
    everybodys = (await site.now()).oldest
    assert found is not None
    assert everybodys is not None
    assert everybodys.due_at < found.due_at


# ---- held
async def test_held_deliveries_are_counted_by_hold(site: Site, ledger: Ledger) -> None:
    paused, disabled, broken, requested = [await site.owed(count) for count in (2, 3, 4, 5)]
    rated = await site.owed(6, EndpointSpec(limits=EndpointLimits(rate=RateLimit(1, timedelta(hours=1)))))
    await site.owed(7)  # not held
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    await build.set_state(ledger, disabled, EndpointState.DISABLED)
    for statement, endpoint in ((OPEN, broken), (WAITS, requested), (SPENT, rated)):
        await build.execute(ledger, statement, id=endpoint)
    for tenant in (None, site.tenant):
        now = await site.now(tenant)
        assert now.held == {
            Hold.PAUSED: 2,
            Hold.DISABLED: 3,
            Hold.BREAKER_OPEN: 4,
            Hold.RETRY_AFTER: 5,
            Hold.RATE_LIMIT: 6,
        }
        assert not now.held_bounded


async def test_a_future_delivery_is_not_held(site: Site, ledger: Ledger) -> None:
    endpoint = await site.owed(2)
    await site.due(endpoint, ago=-timedelta(minutes=5))
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    assert (await site.now()).held == {}


async def test_other_tenants_held_deliveries_are_not_counted(
    site: Site, neighbour: Site, ledger: Ledger
) -> None:
    await build.set_state(ledger, await neighbour.owed(2), EndpointState.PAUSED)
    now = await site.now(site.tenant)
    assert (now.held, now.unhealthy) == ({}, [])


@pytest.mark.parametrize(("count", "expected", "bounded"), [(-1, -1, False), (0, 0, True), (1, 0, True)])
async def test_held_deliveries_of_one_endpoint_are_counted_up_to_a_bound(
    site: Site, ledger: Ledger, count: int, expected: int, *, bounded: bool
) -> None:
    endpoint = await site.owed(MAX_DUE_PER_ENDPOINT + count)
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    now = await site.now()
    assert now.held == {Hold.PAUSED: MAX_DUE_PER_ENDPOINT + expected}
    assert now.held_by_endpoint == {endpoint: MAX_DUE_PER_ENDPOINT + expected}
    assert now.held_bounded == bounded


# ---- in trouble
async def test_unhealthy_endpoints_are_listed_most_recent_first(site: Site, ledger: Ledger) -> None:
    broken, paused = await site.owed(2), await site.owed(1)
    await site.owed(1)
    await build.execute(ledger, OPEN, id=broken)
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    for tenant in (None, site.tenant):
        now = await site.now(tenant)
        assert [(item.id, item.state, item.breaker) for item in now.unhealthy] == [
            (paused, "paused", "closed"),
            (broken, "active", "open"),
        ]
        assert now.held_by_endpoint == {paused: 1, broken: 2}
        assert not now.has_more_unhealthy


async def test_deleted_endpoints_are_not_unhealthy(site: Site, ledger: Ledger) -> None:
    endpoint = await build.create_endpoint(ledger, site.tenant)
    await build.execute(ledger, OPEN, id=endpoint)
    await build.delete_endpoint(ledger, site.tenant, endpoint)
    assert (await site.now()).unhealthy == []


async def test_only_some_of_many_unhealthy_endpoints_are_listed(site: Site, ledger: Ledger) -> None:
    for _ in range(MAX_UNHEALTHY):
        await build.set_state(ledger, await build.create_endpoint(ledger, site.tenant), EndpointState.PAUSED)
    assert not (await site.now()).has_more_unhealthy
    broken = await site.owed(1)
    await build.execute(ledger, OPEN, id=broken)
    now = await site.now()
    assert (len(now.unhealthy), now.has_more_unhealthy) == (MAX_UNHEALTHY, True)


async def test_listed_endpoints_are_always_counted(site: Site, ledger: Ledger) -> None:
    await build.execute(ledger, RATED, tenant=site.tenant, count=MAX_ENDPOINTS)
    broken = await site.owed(3)
    await build.execute(ledger, OPEN, id=broken)
    for tenant in (None, site.tenant):
        now = await site.now(tenant)
        assert now.held_by_endpoint == {broken: 3}
        assert now.held_bounded


# ---- replays
async def created(site: Site) -> ReplayId:
    uses = ReplayService(site.ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    new = NewReplay(FAILED, "the receiver lost them")
    return (await uses.create(site.tenant, new, operator=False, actor=Actor("cli:ada"))).id


async def test_open_replays_are_listed_newest_first(site: Site, neighbour: Site) -> None:
    first, over, last, theirs = [await created(each) for each in (site, site, site, neighbour)]
    await build.execute(site.ledger, "update replays set state = 'finished' where id = :id", id=over)
    assert [replay.id for replay in (await site.now(site.tenant)).replays] == [last, first]
    assert [replay.id for replay in (await site.now()).replays] == [theirs, last, first]


async def test_only_the_newest_of_many_replays_are_listed(site: Site) -> None:
    every = [await created(site) for _ in range(MAX_REPLAYS + 1)]
    assert [replay.id for replay in (await site.now()).replays] == every[:0:-1]
