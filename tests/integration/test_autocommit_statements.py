"""Statements that are transactions of their own: what they leave behind, and how their connections fare."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from delivery.domain.errors import Unavailable
from delivery.ledger.db.fast_path import execute
from delivery.ledger.db.session import Ledger
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    from delivery.ledger.db.session import Transaction

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
    async with build.open_ledger(shared_url) as opened:
        await build.empty_ledger(opened)
        yield opened


async def fetch_row(
    door: Transaction | psycopg.AsyncConnection[Any], statement: Any, **values: object
) -> Any:
    (row,) = await execute(door, statement, values)
    return row


async def test_values_and_percent_signs_go_as_they_are(ledger: Ledger) -> None:
    async with ledger.autocommit() as door:
        row = await fetch_row(door, _NUMBER, number=21)
    assert (row.doubled, row.percent) == (42, "%")


async def test_autocommit_statement_is_visible_immediately(ledger: Ledger) -> None:
    async with ledger.autocommit() as door, ledger.transaction() as tx:
        await execute(door, _WRITE, {})
        assert (await fetch_row(tx, _COUNT)).count == 1


async def test_fast_path_statement_rolls_back_with_its_transaction(ledger: Ledger) -> None:
    async with ledger.transaction() as tx:
        await execute(tx, _WRITE, {})
        assert (await fetch_row(tx, _COUNT)).count == 1
        await tx.rollback()
    async with ledger.autocommit() as door:
        assert (await fetch_row(door, _COUNT)).count == 0


async def test_a_connection_is_used_again(ledger: Ledger) -> None:
    pids = set()
    for _ in range(3):
        async with ledger.autocommit() as door:
            pids.add((await fetch_row(door, _WHO)).pid)
    assert len(pids) == 1


async def test_no_more_than_two_are_open_and_others_wait_for_their_turn(ledger: Ledger) -> None:
    async def pid() -> int:
        async with ledger.autocommit() as door:
            return int((await fetch_row(door, _WHO)).pid)

    assert len(set(await asyncio.gather(*[pid() for _ in range(10)]))) <= 2


async def test_a_connection_that_the_server_closed_is_said_to_be_so_and_replaced(ledger: Ledger) -> None:
    async with ledger.autocommit() as door:
        pid = (await fetch_row(door, _WHO)).pid
    async with ledger.transaction() as tx:
        await execute(tx, _KILL, {"pid": pid})
    with pytest.raises(Unavailable):
        async with ledger.autocommit() as door:
            await fetch_row(door, _WHO)
    async with ledger.autocommit() as door:
        assert (await fetch_row(door, _WHO)).pid != pid


async def test_a_connection_that_broke_within_a_transaction_is_replaced_too(ledger: Ledger) -> None:
    pids: list[int] = []

    async def break_off() -> None:
        async with ledger.transaction() as tx:
            pids.append((await fetch_row(tx, _WHO)).pid)
            async with ledger.autocommit() as door:
                await execute(door, _KILL, {"pid": pids[0]})
            await fetch_row(tx, _WHO)

    with pytest.raises(Unavailable):
        await break_off()
    async with ledger.transaction() as tx:
        assert (await fetch_row(tx, _WHO)).pid not in pids


async def test_cancellation_leaves_no_busy_connection_in_the_pool(ledger: Ledger) -> None:
    async def sleep() -> None:
        async with ledger.autocommit() as door:
            await fetch_row(door, text("select pg_sleep(30) as slept"))

    for _ in range(3):
        sleeping = asyncio.create_task(sleep())
        await asyncio.sleep(0)
        await build.wait_until(lambda: is_asleep(ledger))
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
    async with ledger.autocommit() as door:
        assert (await fetch_row(door, _NUMBER, number=1)).doubled == 2


async def is_asleep(ledger: Ledger) -> bool:
    requested = (
        "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'"
    )
    return bool((await build.fetch_row(ledger, requested))[0])


async def test_a_ledger_that_is_not_there_is_unavailable() -> None:
    nowhere = Ledger("postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(Unavailable):
        async with nowhere.autocommit() as door:
            await fetch_row(door, _WHO)


async def test_a_ledger_that_is_behind_says_what_to_do(ledger: Ledger) -> None:
    with pytest.raises(Unavailable, match="waybill db upgrade"):
        async with ledger.autocommit() as door:
            await execute(door, text("select * from what_comes_later"), {})
