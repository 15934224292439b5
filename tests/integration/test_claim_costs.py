"""A step of the hot path asks PostgreSQL as often for a hundred deliveries as for ten, and no more than that.

These numbers are exact: whoever adds a statement to a step changes them on purpose, or not at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from delivery.pipeline.parsing import NewEvent
from delivery.pipeline.recorder import Recorder
from tests.support import ledger_builders as build
from tests.support.query_costs import Cost, get_statement_name, sum_costs
from tests.support.wire_counting import CountedDatabase, Transaction, count_database_traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.intake import Intake

STEPS = ("accept", "claim", "start", "record")
# BEGIN and COMMIT are round trips too.
COSTS = {
    "accept": Cost(commits=1, statements=1, round_trips=1),
    "claim": Cost(commits=1, statements=2, round_trips=4),
    "start": Cost(commits=1, statements=1, round_trips=1),
    "record": Cost(commits=1, statements=6, round_trips=8),
}
# psycopg prepares what it meets for the fourth time: a round trip more, once for each connection.
ROUNDS_UNTIL_PREPARED = 4


@pytest.fixture
def counted(shared_url: str) -> Iterator[CountedDatabase]:
    with count_database_traffic(shared_url) as database:
        yield database


@dataclass(frozen=True, slots=True)
class Through:
    """A ledger whose every round trip is counted, and who accepts on it all the time."""

    ledger: Ledger
    accepter: Intake


async def steps_of(
    through: Through, counted: CountedDatabase, tenant: TenantId, endpoint: EndpointId, size: int
) -> dict[str, list[Transaction]]:
    """The cost of each step when this many deliveries are accepted, claimed, started and recorded."""
    marks = [len(counted.transactions)]
    events = [NewEvent("order.created", b"{}")] * size
    await through.accepter.accept_events(tenant, events, single=False)
    marks.append(len(counted.transactions))
    (claim_id,) = (await build.claim_deliveries(through.ledger, [endpoint], take=size, batch=size)).claim_ids
    marks.append(len(counted.transactions))
    work = await build.start_claim(through.ledger, claim_id)
    marks.append(len(counted.transactions))
    recorder = Recorder(through.ledger, lambda: 0.0)
    await asyncio.gather(
        *[recorder.record(build.make_attempt_result(build.make_success(item, claim_id))) for item in work]
    )
    requested = counted.transactions
    parts = [requested[start:end] for start, end in zip(marks, [*marks[1:], len(requested)], strict=True)]
    return dict(zip(STEPS, parts, strict=True))


@pytest.mark.parametrize("size", [10, 100])
async def test_a_step_costs_the_same_whatever_its_size(
    ledger: Ledger, counted: CountedDatabase, tenant: TenantId, endpoint: EndpointId, size: int
) -> None:
    async with build.open_ledger(counted.url, pool_size=1) as counting:
        through = Through(counting, build.make_intake(counting))
        for _ in range(ROUNDS_UNTIL_PREPARED):
            await steps_of(through, counted, tenant, endpoint, 1)
        steps = await steps_of(through, counted, tenant, endpoint, size)
    assert await build.count_rows(ledger, "attempts") == size + ROUNDS_UNTIL_PREPARED
    names = {
        step: [get_statement_name(each) for item in requested for each in item.statements]
        for step, requested in steps.items()
    }
    assert {step: sum_costs(requested) for step, requested in steps.items()} == COSTS, (
        f"It was asked for: {names}"
    )
