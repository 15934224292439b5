"""The schema cache is at most a few seconds old, and costs next to nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.domain.accounts import Actor
from delivery.domain.errors import Conflict, Invalid, Unavailable
from delivery.ledger.db.session import Ledger
from delivery.ledger.records import event_types
from delivery.ledger.records.event_types import EventType, EventTypeVersion
from delivery.pipeline.parsing import NewEvent
from delivery.pipeline.schema_cache import MAX_AGE, SchemaCache
from delivery.services.event_types.service import EventTypeService
from delivery.services.event_types.validation import Declaration, EventTypeChanges
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.ledger.db.session import Transaction

ADA = Actor("ada")
NUMBER = Declaration(schema={"type": "integer"}, examples=[1], validation="reject")
WRONG, RIGHT = NewEvent("order.created", b'"1"'), NewEvent("order.created", b"1")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


class CountingLedger(Ledger):
    """A ledger that counts transactions, and answers once it may."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = 0
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        self.asked += 1
        await self.may_answer.wait()
        if self.is_away:
            raise Unavailable("away")
        async with super().transaction(tenant_id=tenant_id) as tx:
            yield tx


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def counting_ledger(ledger: Ledger) -> AsyncIterator[CountingLedger]:
    """Another process's connection to the same ledger."""
    counting_ledger = CountingLedger(ledger.url)
    yield counting_ledger
    await counting_ledger.close()


@pytest.fixture
def cache(counting_ledger: CountingLedger, clock: Clock) -> SchemaCache:
    """The schema cache of that process."""
    return SchemaCache(counting_ledger, clock=clock)


@pytest.fixture
def catalogue(ledger: Ledger, clock: Clock) -> EventTypeService:
    """The service through which the catalogue is changed."""
    return EventTypeService(ledger, SchemaCache(ledger, clock=clock), clock=clock)


async def is_refused(cache: SchemaCache, event: NewEvent = WRONG) -> bool:
    try:
        await cache.check_events([event], single=True)
    except Invalid as error:
        return error.field == "data"
    return False


async def test_another_process_sees_a_change_within_seconds(
    cache: SchemaCache, catalogue: EventTypeService, clock: Clock
) -> None:
    assert not await is_refused(cache)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    clock.move(MAX_AGE)
    assert await is_refused(cache)
    assert not await is_refused(cache, RIGHT)
    await catalogue.change("order.created", EventTypeChanges(validation="off"), actor=ADA)
    clock.move(MAX_AGE)
    assert not await is_refused(cache)
    await catalogue.change("order.created", EventTypeChanges(validation="reject"), actor=ADA)
    clock.move(MAX_AGE)
    assert await is_refused(cache)
    await catalogue.archive("order.created", actor=ADA)
    clock.move(MAX_AGE)
    assert not await is_refused(cache)


async def test_the_ledger_is_queried_at_most_every_few_seconds(
    cache: SchemaCache, counting_ledger: CountingLedger, catalogue: EventTypeService, clock: Clock
) -> None:
    for _ in range(100):
        await cache.check_events([RIGHT] * 10, single=False)
    assert counting_ledger.asked == 1
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    clock.move(MAX_AGE)
    for _ in range(100):
        await cache.check_events([RIGHT] * 10, single=False)
    assert counting_ledger.asked == 2


async def test_concurrent_events_share_one_schema_lookup(
    cache: SchemaCache, counting_ledger: CountingLedger, catalogue: EventTypeService
) -> None:
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    counting_ledger.may_answer.clear()
    asking = [asyncio.create_task(is_refused(cache)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    counting_ledger.may_answer.set()
    assert await asyncio.gather(*asking[1:]) == [True] * 19
    assert counting_ledger.asked == 1


async def test_events_are_not_accepted_when_schemas_cannot_be_loaded(
    cache: SchemaCache, counting_ledger: CountingLedger, catalogue: EventTypeService, clock: Clock
) -> None:
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    counting_ledger.is_away = True
    for event in (WRONG, RIGHT):
        with pytest.raises(Unavailable):
            await cache.check_events([event], single=True)
    counting_ledger.is_away = False
    assert await is_refused(cache)
    counting_ledger.is_away = True
    assert await is_refused(cache)  # a fresh cache needs no query
    clock.move(MAX_AGE)
    with pytest.raises(Unavailable):
        await cache.check_events([RIGHT], single=True)


async def test_catalogue_change_during_a_lookup_is_not_lost(
    cache: SchemaCache, counting_ledger: CountingLedger, catalogue: EventTypeService
) -> None:
    counting_ledger.may_answer.clear()
    before = asyncio.create_task(is_refused(cache))
    await asyncio.sleep(0)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    cache.invalidate()
    after = asyncio.create_task(is_refused(cache))
    await asyncio.sleep(0)
    counting_ledger.may_answer.set()
    await before
    assert await after
    assert await is_refused(cache)


async def test_waiters_during_a_local_change_get_the_new_schema(
    cache: SchemaCache, counting_ledger: CountingLedger, catalogue: EventTypeService
) -> None:
    counting_ledger.may_answer.clear()
    waiting = asyncio.create_task(is_refused(cache))
    await asyncio.sleep(0)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    cache.invalidate()
    counting_ledger.may_answer.set()
    assert await waiting


async def test_slow_validation_yields_to_other_tasks(cache: SchemaCache, catalogue: EventTypeService) -> None:
    wide = Declaration(
        schema={"items": {"anyOf": [{"const": n} for n in range(100)]}}, examples=[], validation="reject"
    )
    await catalogue.declare("order.created", wide, actor=ADA)
    long = NewEvent("order.created", json.dumps([99] * 1_000).encode())
    await cache.check_events([long], single=True)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await asyncio.gather(
        cache.check_events([long] * 20, single=False),
        *(cache.check_events([long], single=True) for _ in range(20)),
    )
    beside.cancel()
    assert turns >= 40


async def test_an_unsupported_schema_is_ignored(
    cache: SchemaCache, ledger: Ledger, catalogue: EventTypeService, clock: Clock
) -> None:
    await catalogue.declare("order.paid", NUMBER, actor=ADA)
    now = clock()
    async with ledger.transaction() as tx:
        await event_types.lock_catalogue(tx)
        await event_types.write(tx, EventType("order.created", "", "reject", 1, now, now))
        await event_types.append_version(
            tx, EventTypeVersion("order.created", 1, '{"$id":"x"}', "[]", "later", now)
        )
    assert not await is_refused(cache)
    assert await is_refused(cache, NewEvent("order.paid", b'"1"'))


async def test_concurrent_declarations_create_two_versions(
    ledger: Ledger, catalogue: EventTypeService
) -> None:
    wanted = [Declaration(schema={"const": number}) for number in range(10)]
    await asyncio.gather(*(catalogue.declare("order.created", item, actor=ADA) for item in wanted))
    result = await catalogue.read("order.created")
    assert [each.version for each in result.versions] == list(range(10, 0, -1))
    told_each = [await catalogue.read("order.created", version=each.version) for each in result.versions]
    assert len({each.version.schema for each in told_each}) == 10
    assert (await build.fetch_row(ledger, "select version from catalogue")).version == 10


async def test_a_full_catalogue_is_refused(ledger: Ledger, catalogue: EventTypeService) -> None:
    await build.execute(
        ledger,
        "insert into event_types (name, description, version, created_at, changed_at)"
        " select 'a.n' || n, '', 1, now(), now() from generate_series(1, 1000) n",
    )
    with pytest.raises(Conflict, match="takes no more"):
        await catalogue.declare("order.created", NUMBER, actor=ADA)
