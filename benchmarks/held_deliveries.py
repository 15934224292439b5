"""`python -m benchmarks.held_deliveries`: the cost of held deliveries for the relay.

Two databases differ only in the number of held deliveries. The same claim and the same scan run on both,
alternating. Claims are rolled back, so that each claims the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url, text

from benchmarks.bench_database import make_partitions
from delivery.domain.delivery import Priority
from delivery.domain.ids import EndpointId
from delivery.ledger.db.session import Ledger
from delivery.ledger.queue import claims
from delivery.pipeline.claiming import ClaimConfig, Quota, claim_deliveries
from tests.support.postgres import connect, migrate, run_database_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

    from delivery.ledger.db.session import Transaction
    from tests.support.postgres import DatabaseServer

FEW_HELD, MANY_HELD = 500, 500_000
SPREADS = (1, 50, 5_000)
CAUSES = ("paused", "breaker_open")
HEALTHY, DUE_EACH = 100, 20
# The relay's initial window, and how many held endpoints it names when new events have arrived for them.
CLAIM_SIZE, NOTIFIED_HELD = 400, 100
CLAIM_CONFIG = ClaimConfig(
    Priority.LIVE, batch_size=100, lease=timedelta(seconds=20), default_max_in_flight=50
)
TARGET = 1.5
WARM_UP, ROUNDS_A_VACUUM = 10, 10

_EMPTY = "truncate endpoints, endpoint_health, endpoint_secrets, endpoint_sequence, schedule, claims"
_TENANT = "insert into tenants (id, name, created_at) values (%(tenant)s, '', now()) on conflict do nothing"
_ENDPOINTS = """
    with made as (
        insert into endpoints (id, tenant_id, url, description, filter, state, header_names, signature,
            state_changed_at, created_at, updated_at)
        select gen_random_uuid(), %(tenant)s, %(kind)s, '', '{*}', %(state)s, '{}', 'v1', now(), now(), now()
        from generate_series(1, %(count)s)
        returning id
    )
    insert into endpoint_health (endpoint_id, breaker, breaker_since, window_since, openings, probe_at,
        limit_now, limit_ramping)
    select id, %(breaker)s, now(), now(), 1, now() + interval '1 hour', 50, false from made
"""
# Spread over time and over the endpoints, as a stream of events leaves them.
_DELIVERIES = """
    with numbered as (
        select id, row_number() over (order by id) - 1 as place from endpoints where url = %(kind)s
    ), stream as (
        select n, cast(extract(epoch from now()) * 1000 as bigint) - %(count)s + n as moment
        from generate_series(1, %(count)s) as n
    )
    insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
    select cast(lpad(to_hex(moment), 12, '0') || '70008' || lpad(to_hex(n), 15, '0') as uuid), %(tenant)s,
           numbered.id, gen_random_uuid(), to_timestamp(moment / 1000.0)
    from stream join numbered on numbered.place = n %% %(spread)s
"""


@dataclass(frozen=True, slots=True)
class HeldCase:
    """The cause of holds, and the number of held endpoints."""

    cause: str
    endpoint_count: int

    def __str__(self) -> str:
        endpoints = f"{self.endpoint_count:,} endpoint{'s' if self.endpoint_count > 1 else ''}"
        return f"{self.cause.replace('_', ' ')}, {endpoints}"


@dataclass(slots=True)
class ClaimTimes:
    """Milliseconds of the claim, of the same claim with held endpoints named, and of the scan."""

    claim: list[float] = field(default_factory=list)
    notified: list[float] = field(default_factory=list)
    scan: list[float] = field(default_factory=list)

    def median(self, what: str) -> float:
        """The median of one of these."""
        found: list[float] = getattr(self, what)
        return statistics.median(found)


class HeldDatabase:
    """A database, with a connection like a relay's."""

    def __init__(self, url: str, held: int) -> None:
        """`write_case` fills it."""
        self._url = url
        self._held = held
        self._ledger = Ledger(url, pool_size=1, application_name="waybill bench")
        self._healthy: list[EndpointId] = []
        self._others: list[EndpointId] = []

    def write_case(self, case: HeldCase) -> None:
        """Write endpoints with due deliveries, and endpoints whose deliveries are held."""
        state = "paused" if case.cause == "paused" else "active"
        breaker = "open" if case.cause == "breaker_open" else "closed"
        with connect(self._url) as database:
            database.execute(_EMPTY)
            tenant = {"tenant": "00000000-0000-7000-8000-000000000000"}
            database.execute(_TENANT, tenant)
            for kind, count, owed, more in (
                ("due", HEALTHY, HEALTHY * DUE_EACH, {"state": "active", "breaker": "closed"}),
                ("held", case.endpoint_count, self._held, {"state": state, "breaker": breaker}),
            ):
                database.execute(_ENDPOINTS, tenant | more | {"kind": kind, "count": count})
                database.execute(_DELIVERIES, tenant | {"kind": kind, "count": owed, "spread": count})
            database.execute(
                "update endpoint_health set probe_at = null, openings = 0 where breaker = 'closed'"
            )
            found = database.execute("select id, url from endpoints order by id").fetchall()
        self._healthy = [EndpointId(id_) for id_, kind in found if kind == "due"]
        self._others = [EndpointId(id_) for id_, kind in found if kind == "held"]
        self.vacuum()

    def vacuum(self) -> None:
        """Vacuum after rolled-back claims, as autovacuum does."""
        with connect(self._url) as database:
            database.execute("vacuum analyze endpoints, endpoint_health, schedule, claims")

    async def measure(self, times: ClaimTimes) -> None:
        """Claim and scan once each."""
        share = CLAIM_SIZE // HEALTHY
        quotas = [Quota(endpoint, share) for endpoint in self._healthy]
        with_held = quotas + [Quota(endpoint, share) for endpoint in self._others[:NOTIFIED_HELD]]
        times.claim.append(await self._claim(quotas))
        times.notified.append(await self._claim(with_held))
        async with self._ledger.transaction() as tx:
            began = time.perf_counter()
            heads = await claims.find_ready_endpoints(tx, priority=Priority.LIVE)
            times.scan.append((time.perf_counter() - began) * 1000)
        if len(heads) != HEALTHY:
            raise RuntimeError(f"The scan found {len(heads)} endpoints, not {HEALTHY}.")

    async def close(self) -> None:
        """Close the connection."""
        await self._ledger.close()

    async def _claim(self, quotas: Sequence[Quota]) -> float:
        async with self._ledger.transaction() as tx:
            await _begin_transaction(tx)
            began = time.perf_counter()
            claimed = await claim_deliveries(tx, quotas, CLAIM_CONFIG)
            took = (time.perf_counter() - began) * 1000
            await tx.rollback()
        if claimed.delivery_count != CLAIM_SIZE:
            raise RuntimeError(f"{claimed.delivery_count} deliveries were claimed, not {CLAIM_SIZE}.")
        return took


async def _begin_transaction(tx: Transaction) -> None:
    """Begin the transaction before the measurement."""
    await tx.execute(text("select 1"))


async def measure_databases(sites: Sequence[HeldDatabase], rounds: int) -> list[ClaimTimes]:
    """Measure on each database, alternating."""
    times_by_database = [ClaimTimes() for _ in sites]
    for number in range(WARM_UP + rounds):
        if number % ROUNDS_A_VACUUM == 0:
            for site in sites:
                await asyncio.to_thread(site.vacuum)
        turns = list(zip(sites, times_by_database, strict=True))
        for site, times in turns if number % 2 else reversed(turns):
            await site.measure(ClaimTimes() if number < WARM_UP else times)
    return times_by_database


def run_cases(server: DatabaseServer, rounds: int, status: Status) -> dict[HeldCase, list[ClaimTimes]]:
    """Measure every case with few and with many held deliveries."""
    with ExitStack() as exits:
        first = exits.enter_context(server.database())
        migrate(first)
        make_partitions(first)  # a claim writes sequence numbers into the partition of the day
        second = exits.enter_context(server.database(template=make_url(first).database))
        found = {}
        for case in [HeldCase(cause, spread) for cause in CAUSES for spread in SPREADS]:
            status.update(f"Held deliveries: {case} …")
            found[case] = asyncio.run(_run_case(case, [(first, FEW_HELD), (second, MANY_HELD)], rounds))
        return found


async def _run_case(case: HeldCase, databases: Sequence[tuple[str, int]], rounds: int) -> list[ClaimTimes]:
    sites = [HeldDatabase(url, held) for url, held in databases]
    try:
        for site in sites:
            await asyncio.to_thread(site.write_case, case)
        return await measure_databases(sites, rounds)
    finally:
        for site in sites:
            await site.close()


def summarize(found: dict[HeldCase, list[ClaimTimes]]) -> dict[str, float]:
    """The highest of each ratio, and the slowest claim with many held deliveries."""
    worst = {
        f"held_{what}_ratio": round(max(_compute_ratio(times, what) for times in found.values()), 2)
        for what in ("claim", "notified", "scan")
    }
    slowest = max(many.median("claim") for _, many in found.values())
    return worst | {"held_claim_ms": round(slowest, 1)}


def build_table(found: dict[HeldCase, list[ClaimTimes]]) -> Table:
    """The medians, in milliseconds."""
    table = Table(
        title=f"The relay with {FEW_HELD:,} → {MANY_HELD:,} held deliveries: medians in ms, ratio",
        title_justify="left",
        caption="A scan takes one step for each endpoint with pending deliveries: "
        f"{FEW_HELD:,} → {max(SPREADS):,} in the widest case.",
        caption_justify="left",
    )
    table.add_column("held")
    for what in (f"claim of {CLAIM_SIZE}", "same, held ones named", "scan"):
        table.add_column(what, justify="right")
    for case, times in found.items():
        table.add_row(str(case), *[_format_cell(times, what) for what in ("claim", "notified", "scan")])
    table.add_row("target", f"≤ {TARGET}", "", "")
    return table


def _format_cell(times: Sequence[ClaimTimes], what: str) -> str:
    few, many = (each.median(what) for each in times)
    return f"{few:.1f} → {many:.1f} ({many / few:.2f})"


def _compute_ratio(times: Sequence[ClaimTimes], what: str) -> float:
    few, many = (each.median(what) for each in times)
    return many / few


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held_deliveries", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="number of rounds; medians are shown")
    arguments = parser.parse_args()
    console = Console()
    with console.status("Starting PostgreSQL …") as status, run_database_server(durable=True) as server:
        found = run_cases(server, arguments.rounds, status)
    console.print(build_table(found))
    print(json.dumps(summarize(found)))


if __name__ == "__main__":
    main()
