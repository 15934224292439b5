"""Search on a real ledger, held against a reading of every row in plain Python."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from delivery.clock import clock
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointState
from delivery.domain.event_patterns import matches_any_pattern
from delivery.domain.pagination import PageRequest
from delivery.domain.payload_path import PayloadEquals
from delivery.ledger.db.tables import deliveries
from delivery.ledger.records import deliveries as stored
from delivery.ledger.search import count, search
from delivery.pipeline.parsing import NewEvent
from retries.health import Hold
from tests.support import ledger_builders as build
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.postgres import DatabaseServer

IN_FLIGHT = 50
TYPES = ("order.created", "order.paid.late", "user.left", "order")


class World:
    """A small ledger in which everything happens: two tenants, endpoints in every state, every ending."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tenants: list[TenantId] = []
        self.endpoints: list[EndpointId] = []
        self.rows: list[Delivery] = []
        self.bodies: dict[Any, bytes] = {}
        self.keys: dict[Any, str | None] = {}
        self.paused: set[EndpointId] = set()

    async def fill(self, ledger: Ledger) -> None:
        for _ in range(2):
            tenant = await build.create_tenant(ledger)
            self.tenants.append(tenant)
            endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(3)]
            self.endpoints += endpoints
            for number in range(12):
                event = NewEvent(TYPES[number % 4], b'{"n": %d, "who": "Ada"}' % (number % 3))
                key = f"key-{number}" if number % 2 else None
                await build.make_intake(ledger).accept_events(
                    tenant, [event], single=True, idempotency_key=key
                )
            await self._live(ledger, endpoints)
        for endpoint in self.endpoints[2::3]:
            await build.set_state(ledger, endpoint, EndpointState.PAUSED)
            self.paused.add(endpoint)
        await self._read(ledger)

    async def _live(self, ledger: Ledger, endpoints: list[EndpointId]) -> None:
        for endpoint in endpoints[:2]:
            taken = await build.claim_deliveries(ledger, [endpoint], take=10, batch=10)
            (claim_id,) = taken.claim_ids
            works = await build.start_claim(ledger, claim_id)
            later = timedelta(hours=1)
            results = [build.make_success(work, claim_id) for work in works[:3]]
            results += [build.make_failure(work, claim_id) for work in works[3:6]]
            results += [build.make_retry(work, claim_id, delay=later) for work in works[6:8]]
            await build.record_results(
                ledger, *results
            )  # the last two are in flight, and two more were never claimed

    async def _read(self, ledger: Ledger) -> None:
        async with ledger.transaction() as tx:
            query = stored.select_with_schedule(deliveries).order_by(deliveries.c.id)
            self.rows = [stored.delivery_from_row(row) for row in await tx.execute(query)]
        for row in await build.fetch_rows(ledger, "select id, body, idempotency_key from events"):
            self.bodies[row.id], self.keys[row.id] = row.body, row.idempotency_key

    def meant(self, tenant_id: TenantId | None, wanted: DeliveryFilter) -> list[Delivery]:
        """The deliveries that a search must find, oldest first."""
        return [one for one in self.rows if self._is_meant(one, tenant_id, wanted)]

    def _is_meant(self, one: Delivery, tenant_id: TenantId | None, wanted: DeliveryFilter) -> bool:
        held = one.endpoint_id in self.paused and one.status == "pending" and _is_due(one)
        return all(
            (
                tenant_id is None or one.tenant_id == tenant_id,
                not wanted.endpoints or one.endpoint_id in wanted.endpoints,
                wanted.event_id is None or one.event_id == wanted.event_id,
                not wanted.types or matches_any_pattern(wanted.types, one.event_type),
                not wanted.statuses or one.status in wanted.statuses,
                not wanted.outcomes or one.outcome in wanted.outcomes,
                not wanted.http or _http(one.http_status, wanted.http),
                wanted.attempts_min is None or one.attempts >= wanted.attempts_min,
                wanted.attempts_max is None or one.attempts <= wanted.attempts_max,
                wanted.idempotency_key is None or self.keys[one.event_id] == wanted.idempotency_key,
                all(condition.matches(self.bodies[one.event_id]) for condition in wanted.payload),
                not wanted.held_by or (held and Hold.PAUSED in wanted.held_by),
            )
        )


def _is_due(one: Delivery) -> bool:
    return one.due_at is not None and one.due_at <= clock()


def _http(status: int | None, wanted: tuple[str, ...]) -> bool:
    return status is not None and any(str(status) == one or one == f"{status // 100}xx" for one in wanted)


@pytest.fixture(scope="module")
def world(database_server: DatabaseServer, migrated_template: str) -> Iterator[World]:
    with database_server.database(template=migrated_template) as url:
        made = World(url)

        async def fill() -> None:
            async with build.open_ledger(url) as ledger:
                await made.fill(ledger)

        asyncio.run(fill())
        yield made


async def find(
    ledger: Ledger, tenant_id: TenantId | None, wanted: DeliveryFilter, *, limit: int, oldest_first: bool
) -> list[Delivery]:
    """All pages of a search."""
    found: list[Delivery] = []
    cut = PageRequest.from_cursor(limit, None, oldest_first=oldest_first)
    while True:
        async with ledger.transaction(tenant_id=tenant_id) as tx:
            asked = await search.prepare_search(tx, tenant_id, wanted, default_max_in_flight=IN_FLIGHT)
            page = await search.read_page(tx, asked, cut)
        found += page.items
        if page.next_cursor is None:
            return found
        cut = PageRequest.from_cursor(limit, page.next_cursor, oldest_first=oldest_first)


def selections(world: World) -> st.SearchStrategy[DeliveryFilter]:
    some: dict[str, st.SearchStrategy[list[Any]]] = {
        "endpoints": st.lists(st.sampled_from(world.endpoints), min_size=1, max_size=2),
        "types": st.lists(st.sampled_from(["*", "order.*", "order", "user.left", "none"]), min_size=1),
        "statuses": st.lists(st.sampled_from(list(DeliveryStatus)), min_size=1, max_size=3),
        "outcomes": st.lists(st.sampled_from(["delivered", "refused", "blocked"]), min_size=1, max_size=2),
        "http": st.lists(st.sampled_from(["503", "5xx", "4xx", "200"]), min_size=1, max_size=2),
        "payload": st.sampled_from(["$.n=1", "$.who=Ada", "$.n=7"]).map(lambda c: [PayloadEquals.parse(c)]),
        "held_by": st.lists(st.sampled_from([Hold.PAUSED, Hold.DISABLED]), min_size=1),
    }
    single = {
        "event_id": st.sampled_from(sorted(world.bodies)),
        "idempotency_key": st.sampled_from(["key-1", "key-3", "none"]),
        "attempts_min": st.integers(0, 2),
        "attempts_max": st.integers(0, 2),
    }
    chosen: dict[str, st.SearchStrategy[Any]] = dict(single)
    for name, values in some.items():
        chosen[name] = values.map(lambda found: tuple(found))  # noqa: PLW0108  tuple itself has too many types
    return st.fixed_dictionaries({}, optional=chosen).map(lambda filters: DeliveryFilter(**filters))


def test_a_search_finds_what_is_meant_in_order_and_each_once(world: World) -> None:
    async def check(draw: Any) -> None:
        async with build.open_ledger(world.url, pool_size=1) as ledger:
            tenant, wanted, limit, oldest_first = draw
            found = await find(ledger, tenant, wanted, limit=limit, oldest_first=oldest_first)
            meant = world.meant(tenant, wanted)
            assert [one.id for one in found] == [one.id for one in (meant if oldest_first else meant[::-1])]
            assert {one.id: replace(one, held=None) for one in found} == {one.id: one for one in meant}

    tenants = st.none() | st.sampled_from(world.tenants)

    @given(st.tuples(tenants, selections(world), st.sampled_from([1, 3, 100]), st.booleans()))
    def run(draw: Any) -> None:
        asyncio.run(check(draw))

    run()


def test_a_count_that_is_cheap_is_exact(world: World) -> None:
    async def check(tenant: TenantId | None, wanted: DeliveryFilter) -> None:
        async with (
            build.open_ledger(world.url, pool_size=1) as ledger,
            ledger.transaction(tenant_id=tenant) as tx,
        ):
            asked = await search.prepare_search(tx, tenant, wanted, default_max_in_flight=IN_FLIGHT)
            counted = await count.count_deliveries(tx, asked)
        meant = world.meant(tenant, wanted)
        ids = [one.id for one in meant]
        assert (counted.count, counted.exact) == (len(meant), True)
        assert (counted.oldest, counted.newest) == (min(ids, default=None), max(ids, default=None))
        assert sum(counted.by_status.values()) == len(meant)

    @given(st.none() | st.sampled_from(world.tenants), selections(world))
    @example(None, DeliveryFilter(statuses=(DeliveryStatus.IN_FLIGHT,), held_by=(Hold.PAUSED,)))
    def run(tenant: TenantId | None, wanted: DeliveryFilter) -> None:
        asyncio.run(check(tenant, wanted))

    run()


@pytest.fixture
async def filled(world: World) -> AsyncIterator[Ledger]:
    async with build.open_ledger(world.url) as ledger:
        yield ledger


async def test_nothing_that_is_over_is_held(filled: Ledger) -> None:
    for statuses in ((DeliveryStatus.FAILED,), (DeliveryStatus.SUCCEEDED, DeliveryStatus.IN_FLIGHT)):
        wanted = DeliveryFilter(statuses=statuses, held_by=(Hold.PAUSED,))
        assert await find(filled, None, wanted, limit=100, oldest_first=False) == []


async def test_a_range_of_time_is_from_and_before(world: World, filled: Ledger) -> None:
    moments = sorted({one.created_at for one in world.rows})
    since, until = moments[3], moments[-3]
    wanted = DeliveryFilter(since=since, until=until)
    found = await find(filled, world.tenants[0], wanted, limit=100, oldest_first=True)
    floor, ceiling = map(_to_the_millisecond, (since, until))
    assert found
    assert all(floor <= _to_the_millisecond(one.created_at) < ceiling for one in found)


def _to_the_millisecond(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_rows_are_neither_skipped_nor_repeated_while_new_ones_arrive(
    ledger: Ledger, *, oldest_first: bool
) -> None:
    tenant = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec())
    await build.accept_events(ledger, tenant, 20)
    before = await build.list_delivery_ids(ledger, endpoint)
    found: list[Any] = []
    cut = PageRequest.from_cursor(3, None, oldest_first=oldest_first)
    while len(found) < 60:
        async with ledger.transaction() as tx:
            asked = await search.prepare_search(tx, tenant, DeliveryFilter(), default_max_in_flight=IN_FLIGHT)
            page = await search.read_page(tx, asked, cut)
        found += [one.id for one in page.items]
        if page.next_cursor is None:
            break
        await build.accept_events(ledger, tenant, 2)
        cut = PageRequest.from_cursor(3, page.next_cursor, oldest_first=oldest_first)
    assert [id_ for id_ in found if id_ in set(before)] == (before if oldest_first else before[::-1])
    assert len(found) == len(set(found))


async def test_beyond_what_is_cheap_a_count_is_an_estimate_and_says_so(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant)
    await build.accept_events(own_ledger, tenant, 500)
    await build.execute(own_ledger, "analyze deliveries")
    async with own_ledger.transaction() as tx:
        asked = await search.prepare_search(tx, tenant, DeliveryFilter(), default_max_in_flight=IN_FLIGHT)
        counted = await count.count_deliveries(tx, asked, limit=100)
    assert not counted.exact
    assert 250 <= counted.count <= 1_000
