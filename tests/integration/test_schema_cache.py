"""What a process holds events against: as the catalogue was at most a few seconds ago, and at no cost."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.accept import NewEvent
from delivery.accept.expected import AGE, Expected
from delivery.catalogue import Catalogue, Declaration, TypeChanges
from delivery.errors import Conflict, Invalid, Unavailable
from delivery.ledger import Ledger, event_types
from delivery.ledger.event_types import EventType, Version
from delivery.model import Actor
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.ledger import Transaction

ADA = Actor("ada")
NUMBER = Declaration(schema={"type": "integer"}, examples=[1], validation="reject")
WRONG, RIGHT = NewEvent("order.created", b'"1"'), NewEvent("order.created", b"1")


class Clock:
    """A clock that is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


class Counted(Ledger):
    """A ledger that counts transactions, and answers when it is let to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = 0
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @asynccontextmanager
    async def transaction(self, *, of: UUID | None = None) -> AsyncIterator[Transaction]:
        self.asked += 1
        await self.may_answer.wait()
        if self.is_away:
            raise Unavailable("away")
        async with super().transaction(of=of) as tx:
            yield tx


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def counted(ledger: Ledger) -> AsyncIterator[Counted]:
    """Another process's way to the same ledger."""
    counted = Counted(ledger.url)
    yield counted
    await counted.close()


@pytest.fixture
def expected(counted: Counted, clock: Clock) -> Expected:
    """What that process knows."""
    return Expected(counted, clock=clock)


@pytest.fixture
def catalogue(ledger: Ledger, clock: Clock) -> Catalogue:
    """Where somebody else changes the catalogue."""
    return Catalogue(ledger, Expected(ledger, clock=clock), clock=clock)


async def is_refused(expected: Expected, event: NewEvent = WRONG) -> bool:
    try:
        await expected.check([event], single=True)
    except Invalid as error:
        return error.field == "data"
    return False


async def test_another_process_holds_to_a_change_within_seconds(
    expected: Expected, catalogue: Catalogue, clock: Clock
) -> None:
    assert not await is_refused(expected)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    clock.move(AGE)
    assert await is_refused(expected)
    assert not await is_refused(expected, RIGHT)
    await catalogue.change("order.created", TypeChanges(validation="off"), actor=ADA)
    clock.move(AGE)
    assert not await is_refused(expected)
    await catalogue.change("order.created", TypeChanges(validation="reject"), actor=ADA)
    clock.move(AGE)
    assert await is_refused(expected)
    await catalogue.archive("order.created", actor=ADA)
    clock.move(AGE)
    assert not await is_refused(expected)


async def test_the_ledger_is_asked_once_in_a_while_however_many_events_come(
    expected: Expected, counted: Counted, catalogue: Catalogue, clock: Clock
) -> None:
    for _ in range(100):
        await expected.check([RIGHT] * 10, single=False)
    assert counted.asked == 1
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    clock.move(AGE)
    for _ in range(100):
        await expected.check([RIGHT] * 10, single=False)
    assert counted.asked == 2


async def test_those_that_come_while_somebody_looks_wait_for_what_is_seen(
    expected: Expected, counted: Counted, catalogue: Catalogue
) -> None:
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    counted.may_answer.clear()
    asking = [asyncio.create_task(is_refused(expected)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    counted.may_answer.set()
    assert await asyncio.gather(*asking[1:]) == [True] * 19
    assert counted.asked == 1


async def test_without_an_answer_nothing_is_taken_unlooked_at(
    expected: Expected, counted: Counted, catalogue: Catalogue, clock: Clock
) -> None:
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    counted.is_away = True
    for event in (WRONG, RIGHT):
        with pytest.raises(Unavailable):
            await expected.check([event], single=True)
    counted.is_away = False
    assert await is_refused(expected)
    counted.is_away = True
    assert await is_refused(expected)  # what is fresh needs no answer
    clock.move(AGE)
    with pytest.raises(Unavailable):
        await expected.check([RIGHT], single=True)


async def test_whoever_changes_the_catalogue_while_it_is_looked_at_is_not_forgotten(
    expected: Expected, counted: Counted, catalogue: Catalogue
) -> None:
    counted.may_answer.clear()
    before = asyncio.create_task(is_refused(expected))
    await asyncio.sleep(0)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    expected.forget()
    after = asyncio.create_task(is_refused(expected))
    await asyncio.sleep(0)
    counted.may_answer.set()
    await before
    assert await after
    assert await is_refused(expected)


async def test_whoever_waits_while_the_catalogue_is_changed_here_waits_for_what_it_is_then(
    expected: Expected, counted: Counted, catalogue: Catalogue
) -> None:
    counted.may_answer.clear()
    waiting = asyncio.create_task(is_refused(expected))
    await asyncio.sleep(0)
    await catalogue.declare("order.created", NUMBER, actor=ADA)
    expected.forget()
    counted.may_answer.set()
    assert await waiting


async def test_others_have_their_turn_between_events_that_take_long(
    expected: Expected, catalogue: Catalogue
) -> None:
    wide = Declaration(
        schema={"items": {"anyOf": [{"const": n} for n in range(100)]}}, examples=[], validation="reject"
    )
    await catalogue.declare("order.created", wide, actor=ADA)
    long = NewEvent("order.created", json.dumps([99] * 1_000).encode())
    await expected.check([long], single=True)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await asyncio.gather(
        expected.check([long] * 20, single=False),
        *(expected.check([long], single=True) for _ in range(20)),
    )
    beside.cancel()
    assert turns >= 40


async def test_a_schema_that_this_release_does_not_take_holds_nothing_and_stops_nothing(
    expected: Expected, ledger: Ledger, catalogue: Catalogue, clock: Clock
) -> None:
    await catalogue.declare("order.paid", NUMBER, actor=ADA)
    now = clock()
    async with ledger.transaction() as tx:
        await event_types.take_turn(tx)
        await event_types.write(tx, EventType("order.created", "", "reject", 1, now, now))
        await event_types.append(tx, Version("order.created", 1, '{"$id":"x"}', "[]", "later", now))
    assert not await is_refused(expected)
    assert await is_refused(expected, NewEvent("order.paid", b'"1"'))


async def test_two_who_declare_at_once_make_two_versions(ledger: Ledger, catalogue: Catalogue) -> None:
    wanted = [Declaration(schema={"const": number}) for number in range(10)]
    await asyncio.gather(*(catalogue.declare("order.created", one, actor=ADA) for one in wanted))
    told = await catalogue.read("order.created")
    assert [each.version for each in told.versions] == list(range(10, 0, -1))
    told_each = [await catalogue.read("order.created", version=each.version) for each in told.versions]
    assert len({each.version.schema for each in told_each}) == 10
    assert (await on.row(ledger, "select version from catalogue")).version == 10


async def test_a_full_catalogue_says_so(ledger: Ledger, catalogue: Catalogue) -> None:
    await on.change(
        ledger,
        "insert into event_types (name, description, version, created_at, changed_at)"
        " select 'a.n' || n, '', 1, now(), now() from generate_series(1, 1000) n",
    )
    with pytest.raises(Conflict, match="takes no more"):
        await catalogue.declare("order.created", NUMBER, actor=ADA)
