"""How often the processes ask PostgreSQL and RabbitMQ for something on the way of 1,000 deliveries.

Counted between the Procfile's processes and the servers. What the clock makes a process ask is left out; by
its text `tests/support/query_costs.py` knows the scan, the rescue, looks at a full queue, figures and upkeep.

The rest is nearly independent of speed: no endpoint comes near its limit in flight, so claims are as large as
the window's room. Results that come within 20 ms share a record, and requests that come during a commit share
the next one; on a machine that is slow as a whole the commit that they wait for is slow too. Beside four busy
loops on two cores no count was more than a tenth above a quiet machine's. The bounds are one and a half
times (batches) to four times what was counted; a commit or a message for each delivery is far above them.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from benchmarks.post_requests import PostRequest
from tests.support.postgres import connect
from tests.support.query_costs import Cost, CostCheck, CostReport, assert_costs
from tests.support.scenario import TIMEOUT_SECONDS
from tests.support.stack import wait_until
from tests.support.webhook_partner import Partner
from tests.support.wire_counting import (
    CountedBroker,
    CountedDatabase,
    count_broker_traffic,
    count_database_traffic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api
    from tests.support.stack import Stack

TENANTS, ENDPOINTS, EVENTS = 5, 20, 10
DELIVERIES = TENANTS * ENDPOINTS * EVENTS
AT_ONCE = 32
ACCEPTING = ("enqueue.insert_events",)
CLAIMING = ("endpoint_health.lock_gates", "claims.claim")
DELIVERING = ("claims.start", "results.insert_attempts", "results.finish", "endpoint_health.write")

# No lease ends on a slow machine, and no request turns slow.
PATIENT = {
    "WAYBILL_LEASE_SECONDS": "300",
    "WAYBILL_QUEUE_LEASE_SECONDS": "300",
    "WAYBILL_ATTEMPT_TIMEOUT": "30",
    "WAYBILL_DETACH_SECONDS": "30",
    "WAYBILL_WORKER_PROCESSES": "1",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """An engine whose processes reach each server through a proxy of their own."""

    stack: Stack
    databases: dict[str, CountedDatabase]
    brokers: dict[str, CountedBroker]

    def serve(self, name: str) -> None:
        """Start a process of the Procfile."""
        self.stack.environment["WAYBILL_DATABASE_URL"] = self.databases[name].url
        self.stack.environment["WAYBILL_AMQP_URL"] = self.brokers[name].url
        self.stack.serve(name)

    def bill(self, name: str, what: str, *, since: int = 0) -> CostReport:
        """A process's requests, without its first `since` transactions."""
        messages = self.brokers[name].sent["basic.publish"] + self.brokers[name].received["basic.deliver"]
        return CostReport(name, what, self.databases[name].transactions[since:], messages)


@pytest.fixture
def counted(stack: Stack, amqp_url: str) -> Iterator[Counted]:
    """Nothing of the engine runs yet."""
    stack.environment |= PATIENT
    names = ("web", "relay", "worker")
    with ExitStack() as exits:
        databases = {name: exits.enter_context(count_database_traffic(stack.database_url)) for name in names}
        brokers = {name: exits.enter_context(count_broker_traffic(amqp_url)) for name in names}
        exits.callback(stack.stop)
        yield Counted(stack, databases, brokers)


def test_backlog_is_delivered_in_large_batches(counted: Counted, operator: Api) -> None:
    with Partner() as partner:
        counted.serve("web")
        for _ in range(TENANTS):
            tenant = operator.create_tenant()
            subscribe_all(tenant, partner)
            tenant.post("/v1/events/batch", {"events": [{"type": "order.created", "data": {}}] * EVENTS})
        counted.serve("relay")
        counted.serve("worker")
        wait_until(
            lambda: ended(counted) == {"succeeded": DELIVERIES}, "all to succeed", seconds=TIMEOUT_SECONDS
        )
        what = f"{DELIVERIES:,} waiting deliveries"
        relay, worker = counted.bill("relay", what), counted.bill("worker", what)
    assert_costs(
        CostCheck(
            relay, Cost(commits=20, statements=50, round_trips=80, messages=30), expected_statements=CLAIMING
        ),
        CostCheck(
            worker,
            Cost(commits=60, statements=160, round_trips=240, messages=30),
            expected_statements=DELIVERING,
        ),
    )


def test_events_that_come_together_share_commits(counted: Counted, operator: Api) -> None:
    counted.serve("web")
    tenants = [operator.create_tenant() for _ in range(TENANTS)]
    for tenant in tenants:
        tenant.post("/v1/endpoints", {"url": "http://127.0.0.1:9/hook", "filter": ["order.*"]})
    before = len(counted.databases["web"].transactions)
    asyncio.run(post_all(counted.stack.port, [tenant.key for tenant in tenants], 1_000))
    assert ended(counted) == {"pending": 1_000}
    bill = counted.bill("web", f"1,000 POSTs of an event, {AT_ONCE} at once", since=before)
    assert_costs(
        CostCheck(bill, Cost(commits=250, statements=300, round_trips=400), expected_statements=ACCEPTING)
    )


def test_events_of_a_batch_share_a_commit(counted: Counted, operator: Api) -> None:
    counted.serve("web")
    tenant = operator.create_tenant()
    tenant.post("/v1/endpoints", {"url": "http://127.0.0.1:9/hook", "filter": ["order.*"]})
    before = len(counted.databases["web"].transactions)
    for _ in range(10):
        tenant.post("/v1/events/batch", {"events": [{"type": "order.created", "data": {}}] * 100})
    bill = counted.bill("web", "1,000 events in 10 batches", since=before)
    assert_costs(
        CostCheck(bill, Cost(commits=20, statements=30, round_trips=50), expected_statements=ACCEPTING)
    )


def subscribe_all(tenant: Api, partner: Partner) -> None:
    """So many endpoints that none comes near what it may have in flight: what waits for that is no cost."""
    for _ in range(ENDPOINTS):
        tenant.post("/v1/endpoints", {"url": partner.url, "filter": ["order.*"]})


def ended(counted: Counted) -> dict[str, int]:
    """How many deliveries stand where, asked past every proxy."""
    with connect(counted.stack.database_url) as connection:
        found = connection.execute("select status, count(*) from deliveries group by status").fetchall()
    return dict(found)


async def post_all(port: int, keys: list[str], count: int) -> None:
    """Post this many events on each of AT_ONCE connections, one after another."""
    left = iter(range(count))
    requests = cycle([PostRequest(key, ["order.created"], 100).to_bytes("127.0.0.1") for key in keys])

    async def post_some() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(next(requests))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 202"), head
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*[post_some() for _ in range(AT_ONCE)])
