"""Statements that are transactions of their own: what they leave behind, and how their connections fare."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from delivery.errors import Unavailable
from delivery.ledger import Ledger
from delivery.ledger.direct import run
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    from delivery.ledger import Transaction

_WHO = text("select pg_backend_pid() as pid")
_NUMBER = text("select cast(:number as int) * 2 as doubled, '%' as percent")
_WRITE = text("""
    insert into figures_progress (seen_until, settled_until, summed_until, back_to)
    values (now(), now(), now(), now())
""")
_COUNT = text("select count(*) as count from figures_progress")
_KILL = text("select pg_terminate_backend(:pid)")


@pytest.fixture
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    async with on.opened(shared_url) as opened:
        await on.emptied(opened)
        yield opened


async def one(door: Transaction | psycopg.AsyncConnection[Any], statement: Any, **values: object) -> Any:
    (row,) = await run(door, statement, values)
    return row


async def test_values_and_percent_signs_go_as_they_are(ledger: Ledger) -> None:
    async with ledger.at_once() as door:
        row = await one(door, _NUMBER, number=21)
    assert (row.doubled, row.percent) == (42, "%")


async def test_what_is_done_at_once_is_seen_by_others_at_once(ledger: Ledger) -> None:
    async with ledger.at_once() as door, ledger.transaction() as tx:
        await run(door, _WRITE, {})
        assert (await one(tx, _COUNT)).count == 1


async def test_what_is_done_directly_within_a_transaction_is_undone_with_it(ledger: Ledger) -> None:
    async with ledger.transaction() as tx:
        await run(tx, _WRITE, {})
        assert (await one(tx, _COUNT)).count == 1
        await tx.rollback()
    async with ledger.at_once() as door:
        assert (await one(door, _COUNT)).count == 0


async def test_a_connection_is_used_again(ledger: Ledger) -> None:
    pids = set()
    for _ in range(3):
        async with ledger.at_once() as door:
            pids.add((await one(door, _WHO)).pid)
    assert len(pids) == 1


async def test_no_more_than_two_are_open_and_others_wait_for_their_turn(ledger: Ledger) -> None:
    async def pid() -> int:
        async with ledger.at_once() as door:
            return int((await one(door, _WHO)).pid)

    assert len(set(await asyncio.gather(*[pid() for _ in range(10)]))) <= 2


async def test_a_connection_that_the_server_closed_is_said_to_be_so_and_replaced(ledger: Ledger) -> None:
    async with ledger.at_once() as door:
        pid = (await one(door, _WHO)).pid
    async with ledger.transaction() as tx:
        await run(tx, _KILL, {"pid": pid})
    with pytest.raises(Unavailable):
        async with ledger.at_once() as door:
            await one(door, _WHO)
    async with ledger.at_once() as door:
        assert (await one(door, _WHO)).pid != pid


async def test_a_connection_that_broke_within_a_transaction_is_replaced_too(ledger: Ledger) -> None:
    pids: list[int] = []

    async def break_off() -> None:
        async with ledger.transaction() as tx:
            pids.append((await one(tx, _WHO)).pid)
            async with ledger.at_once() as door:
                await run(door, _KILL, {"pid": pids[0]})
            await one(tx, _WHO)

    with pytest.raises(Unavailable):
        await break_off()
    async with ledger.transaction() as tx:
        assert (await one(tx, _WHO)).pid not in pids


async def test_one_who_is_cancelled_leaves_no_connection_in_the_middle_of_something(ledger: Ledger) -> None:
    async def sleep() -> None:
        async with ledger.at_once() as door:
            await one(door, text("select pg_sleep(30) as slept"))

    for _ in range(3):
        sleeping = asyncio.create_task(sleep())
        await asyncio.sleep(0)
        await on.until(lambda: is_asleep(ledger))
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
    async with ledger.at_once() as door:
        assert (await one(door, _NUMBER, number=1)).doubled == 2


async def is_asleep(ledger: Ledger) -> bool:
    asked = "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'"
    return bool((await on.row(ledger, asked))[0])


async def test_a_ledger_that_is_not_there_is_unavailable() -> None:
    nowhere = Ledger("postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(Unavailable):
        async with nowhere.at_once() as door:
            await one(door, _WHO)


async def test_a_ledger_that_is_behind_says_what_to_do(ledger: Ledger) -> None:
    with pytest.raises(Unavailable, match="waybill db upgrade"):
        async with ledger.at_once() as door:
            await run(door, text("select * from what_comes_later"), {})
