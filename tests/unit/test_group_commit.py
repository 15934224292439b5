"""Requests share transactions, and none is ever left waiting; seen at the seam to the ledger."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest

from delivery.domain.errors import NotFound, Unavailable
from delivery.domain.ids import TenantId
from delivery.pipeline import intake as intakes
from delivery.pipeline.intake import Intake
from delivery.pipeline.parsing import IntakeLimits, NewEvent
from tests.support.ledger_builders import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.db.session import Ledger

NOBODY = TenantId(UUID(int=1))
# Worth a commit of its own.
LARGE = b"1" * intakes.EAGER_COMMIT_BYTES


class NoTenants:
    """A ledger without tenants that answers once `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.transactions = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[NoTenants]:
        self.transactions += 1
        await self.answers.wait()
        yield self

    # What leads to the driver's cursor, which has no rows.

    @property
    def sync_connection(self) -> NoTenants:
        return self

    connection = driver_connection = sync_connection
    description = None

    def cursor(self, **_: object) -> NoTenants:
        return self

    async def execute(self, *_: object) -> None:
        pass


def make_intake(ledger: NoTenants) -> Intake:
    return Intake(cast("Ledger", ledger), limits=IntakeLimits(), clock=lambda: datetime.now(UTC))


async def accept(intake: Intake, *, times: int = 1, data: bytes = b"1") -> None:
    for _ in range(times):
        with suppress(NotFound):
            await intake.accept_events(NOBODY, [NewEvent("a", data)], single=True)


async def let_wait(*callers: asyncio.Task[None]) -> None:
    """Let these run as far as they can; none must be done."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(each.done() for each in callers)


async def occupy_committers(intake: Intake) -> list[asyncio.Task[None]]:
    """Keep every committer busy with one request each."""
    callers: list[asyncio.Task[None]] = []
    for _ in range(intakes.MAX_CONCURRENT_COMMITS):
        callers.append(asyncio.create_task(accept(intake, data=LARGE)))
        await let_wait(*callers)
    return callers


async def test_requests_that_come_during_a_commit_share_the_next_one() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    callers = [asyncio.create_task(accept(intake)) for _ in range(500)]
    await let_wait(*callers)
    ledger.answers.set()
    await asyncio.gather(*callers)
    assert ledger.transactions <= 4


async def test_request_right_after_a_commit_is_not_stranded() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    again = asyncio.create_task(accept(intake, times=2))
    await let_wait(again)
    once = asyncio.create_task(accept(intake, data=LARGE))
    await let_wait(once)
    assert ledger.transactions == 2
    ledger.answers.set()
    async with asyncio.timeout(10):
        await asyncio.gather(once, again)


async def test_small_requests_wait_to_share_a_commit() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    callers = [asyncio.create_task(accept(intake)) for _ in range(intakes.EAGER_COMMIT_EVENTS)]
    await let_wait(*callers)
    assert ledger.transactions == 1
    callers += [asyncio.create_task(accept(intake)) for _ in range(intakes.EAGER_COMMIT_EVENTS)]
    await let_wait(*callers)
    assert ledger.transactions == 2
    ledger.answers.set()
    await asyncio.gather(*callers)


async def test_a_stuck_commit_does_not_hold_up_others() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    stuck = asyncio.create_task(accept(intake))
    await let_wait(stuck)
    small = asyncio.create_task(accept(intake))
    await let_wait(small)
    assert ledger.transactions == 1
    await wait_until(lambda: ledger.transactions == 2)
    ledger.answers.set()
    await asyncio.gather(stuck, small)


async def test_too_many_waiting_requests_are_refused() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    callers = await occupy_committers(intake)
    callers += [asyncio.create_task(accept(intake)) for _ in range(intakes.MAX_WAITING_REQUESTS)]
    await let_wait(*callers)
    with pytest.raises(Unavailable):
        await accept(intake)
    ledger.answers.set()
    await asyncio.gather(*callers)
    await accept(intake)


async def test_groups_are_bounded_in_bytes() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    large = b"1" * (intakes.MAX_GROUP_BYTES // 4)
    callers = [asyncio.create_task(accept(intake, data=large)) for _ in range(20)]
    await let_wait(*callers)
    ledger.answers.set()
    await asyncio.gather(*callers)
    assert ledger.transactions >= 5


async def test_waiting_requests_are_bounded_in_bytes() -> None:
    ledger = NoTenants()
    intake = make_intake(ledger)
    huge = b"1" * (intakes.MAX_WAITING_BYTES // 4)
    callers = await occupy_committers(intake)
    callers += [asyncio.create_task(accept(intake, data=huge)) for _ in range(4)]
    await let_wait(*callers)
    with pytest.raises(Unavailable):
        await accept(intake, data=huge)
    ledger.answers.set()
    await asyncio.gather(*callers)
    await accept(intake, data=huge)
