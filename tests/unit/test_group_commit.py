"""How requests share transactions, seen at the seam to the ledger: none is ever left waiting."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest

from delivery.domain.errors import NotFound, Unavailable
from delivery.domain.ids import TenantId
from delivery.pipeline import intake as sharing
from delivery.pipeline.intake import Intake
from delivery.pipeline.parsing import IntakeLimits, NewEvent
from tests.support.ledger_builders import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.db.session import Ledger

NOBODY = TenantId(UUID(int=1))
# Worth a commit of its own.
LARGE = b"1" * sharing.EAGER_COMMIT_BYTES


class NoTenants:
    """A ledger that knows no tenant, and answers when it is told to."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.transactions = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[NoTenants]:
        self.transactions += 1
        await self.answers.wait()
        yield self

    # The way to the driver's own cursor, which has no rows.

    @property
    def sync_connection(self) -> NoTenants:
        return self

    connection = driver_connection = sync_connection
    description = None

    def cursor(self, **_: object) -> NoTenants:
        return self

    async def execute(self, *_: object) -> None:
        pass


def accepter_of(ledger: NoTenants) -> Intake:
    return Intake(cast("Ledger", ledger), limits=IntakeLimits(), clock=lambda: datetime.now(UTC))


async def ask(accepter: Intake, *, times: int = 1, data: bytes = b"1") -> None:
    for _ in range(times):
        with suppress(NotFound):
            await accepter.accept_events(NOBODY, [NewEvent("a", data)], single=True)


async def waiting(*asking: asyncio.Task[None]) -> None:
    """Let these come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(each.done() for each in asking)


async def occupied(accepter: Intake) -> list[asyncio.Task[None]]:
    """Keep every committer busy with one request each."""
    asking: list[asyncio.Task[None]] = []
    for _ in range(sharing.MAX_CONCURRENT_COMMITS):
        asking.append(asyncio.create_task(ask(accepter, data=LARGE)))
        await waiting(*asking)
    return asking


async def test_requests_that_come_during_a_commit_share_the_next_one() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    asking = [asyncio.create_task(ask(accepter)) for _ in range(500)]
    await waiting(*asking)
    ledger.answers.set()
    await asyncio.gather(*asking)
    assert ledger.transactions <= 4


async def test_request_right_after_a_commit_is_not_stranded() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    again = asyncio.create_task(ask(accepter, times=2))
    await waiting(again)
    once = asyncio.create_task(ask(accepter, data=LARGE))
    await waiting(once)
    assert ledger.transactions == 2
    ledger.answers.set()
    async with asyncio.timeout(10):
        await asyncio.gather(once, again)


async def test_small_requests_wait_to_share_a_commit() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    asking = [asyncio.create_task(ask(accepter)) for _ in range(sharing.EAGER_COMMIT_EVENTS)]
    await waiting(*asking)
    assert ledger.transactions == 1
    asking += [asyncio.create_task(ask(accepter)) for _ in range(sharing.EAGER_COMMIT_EVENTS)]
    await waiting(*asking)
    assert ledger.transactions == 2
    ledger.answers.set()
    await asyncio.gather(*asking)


async def test_nobody_waits_long_for_a_commit_that_is_stuck() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    stuck = asyncio.create_task(ask(accepter))
    await waiting(stuck)
    small = asyncio.create_task(ask(accepter))
    await waiting(small)
    assert ledger.transactions == 1
    await wait_until(lambda: ledger.transactions == 2)
    ledger.answers.set()
    await asyncio.gather(stuck, small)


async def test_more_than_can_wait_are_told_to_come_later() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    asking = await occupied(accepter)
    asking += [asyncio.create_task(ask(accepter)) for _ in range(sharing.MAX_WAITING_REQUESTS)]
    await waiting(*asking)
    with pytest.raises(Unavailable):
        await ask(accepter)
    ledger.answers.set()
    await asyncio.gather(*asking)
    await ask(accepter)


async def test_large_requests_wait_for_fewer_others() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    large = b"1" * (sharing.MAX_GROUP_BYTES // 4)
    asking = [asyncio.create_task(ask(accepter, data=large)) for _ in range(20)]
    await waiting(*asking)
    ledger.answers.set()
    await asyncio.gather(*asking)
    assert ledger.transactions >= 5


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    ledger = NoTenants()
    accepter = accepter_of(ledger)
    huge = b"1" * (sharing.MAX_WAITING_BYTES // 4)
    asking = await occupied(accepter)
    asking += [asyncio.create_task(ask(accepter, data=huge)) for _ in range(4)]
    await waiting(*asking)
    with pytest.raises(Unavailable):
        await ask(accepter, data=huge)
    ledger.answers.set()
    await asyncio.gather(*asking)
    await ask(accepter, data=huge)
