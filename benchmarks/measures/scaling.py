"""Effect of the backlog, of the history and of the number of endpoints on throughput.

Each ratio compares two databases that differ in one thing. The same number of deliveries is drained on both,
alternating, with all endpoints at full speed. Rates exclude the start and the end of a run.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from benchmarks import search_latency
from benchmarks.suite import ENDPOINTS_EACH, TENANTS
from tests.support.postgres import DatabaseServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench_database import BenchDatabase, BenchEndpoint
    from benchmarks.suite import BenchSuite

MANY_TENANTS, MANY_EACH = 1_000, 10
# Each of 10,000 endpoints gets ten: the first one loads the endpoint, as after a start.
DELIVERIES_PER_ENDPOINT = 10
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """One side of a comparison. `drained` deliveries are measured; `waiting` ones stay in the backlog."""

    name: str
    site: BenchDatabase
    targets: Sequence[BenchEndpoint]
    drained: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseSpec:
    """A side's tenants, endpoints per tenant, waiting deliveries and finished deliveries."""

    tenants: int = TENANTS
    each: int = ENDPOINTS_EACH
    waiting: int = 0
    history: int = 0


def measure_backlog(bench: BenchSuite) -> dict[str, list[float]]:
    """Compare draining with a million waiting to draining without a further backlog."""
    return {"backlog_ratio": _measure_ratios(bench, "backlog", DatabaseSpec(waiting=bench.sizes.waiting))}


def measure_history(bench: BenchSuite) -> dict[str, list[float]]:
    """Compare draining with millions of finished deliveries to an empty ledger."""
    return {"history_ratio": _measure_ratios(bench, "history", DatabaseSpec(history=bench.sizes.history))}


def measure_endpoints(bench: BenchSuite) -> dict[str, list[float]]:
    """Compare draining to ten thousand endpoints of a thousand tenants to fifty of ten."""
    many, drained = DatabaseSpec(MANY_TENANTS, MANY_EACH), MANY_TENANTS * MANY_EACH * DELIVERIES_PER_ENDPOINT
    return {"endpoints_ratio": _measure_ratios(bench, "endpoints", many, drained)}


def _measure_ratios(
    bench: BenchSuite, name: str, spec: DatabaseSpec, drained: int | None = None
) -> list[float]:
    """The ratio of a spec's rate to the plain one's, for each alternating pair."""
    with ExitStack() as exits:
        sides = [
            _prepare_side(
                bench,
                f"{name}-{place}",
                exits.enter_context(_open_fresh_database(bench)),
                one,
                drained or bench.sizes.drained,
            )
            for place, one in enumerate((DatabaseSpec(), spec))
        ]
        ratios = []
        for number in range(bench.sizes.pairs):
            ordered = sides if number % 2 == 0 else sides[::-1]
            rates = {side.name: _measure_drain(bench, side) for side in ordered}
            plain, other = (rates[side.name] for side in sides)
            print(f"  {name}: {plain:,.0f} and {other:,.0f} deliveries/s", flush=True)
            ratios.append(other / plain)
    return ratios


def _prepare_side(
    bench: BenchSuite, name: str, site: BenchDatabase, spec: DatabaseSpec, drained: int
) -> ComparedSide:
    if spec.history:
        _write_history(bench, site, spec.history)
    targets = site.add_tenants(spec.tenants, spec.each, bench.get_hook_url)
    if spec.waiting:
        bench.status.update(f"{name}: adding {spec.waiting:,} waiting deliveries …")
        site.add_pending(targets, spec.waiting)
    return ComparedSide(name, site, targets, drained, spec.waiting)


def _measure_drain(bench: BenchSuite, side: ComparedSide) -> float:
    """Deliveries per second, without the start and the end."""
    site, count = side.site, side.drained
    site.reset_queue()
    if not side.waiting:
        site.add_pending(side.targets, count)
    since = datetime.now(UTC)
    settings = {"WAYBILL_DATABASE_URL": site.url, "WAYBILL_QUEUE_NAME": side.name}
    with bench.engine.override_settings(**settings), bench.engine.run_processes(kill=True):
        bench.engine.wait_until(
            lambda: site.count_delivered(since) >= count or not site.has_pending(),
            f"{count:,} deliveries",
            seconds=TIMEOUT_SECONDS,
        )
    return site.compute_steady_rate(since, count)


@contextmanager
def _open_fresh_database(bench: BenchSuite) -> Iterator[BenchDatabase]:
    """A separate database, dropped at the end."""
    server = DatabaseServer(make_url(bench.engine.stack.database_url))
    with server.database() as url:
        site = bench.engine.migrate(url)
        try:
            yield site
        finally:
            site.connection.close()


def _write_history(bench: BenchSuite, site: BenchDatabase, rows: int) -> None:
    """Write a history and roll up its statistics, so that the relay does not do it during the run."""
    search_latency.build_history(site.url, rows, bench.status, pending=0)
    asyncio.run(search_latency.roll_up_stats(site.url, bench.status))
