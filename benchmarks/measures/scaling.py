"""Whether it matters how much waits, how much has happened, and how many endpoints there are.

Each ratio compares two databases that differ in one thing. As many deliveries are drained on both, in turn,
with all endpoints at full speed; rates are those of the middle, without the start and the end.
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
# Of 10,000 endpoints each gets ten: the first of them has the endpoint loaded, as after a start.
DELIVERIES_PER_ENDPOINT = 10
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """One of the two that are compared. `drained` is measured, `more` waits beside it."""

    name: str
    site: BenchDatabase
    targets: Sequence[BenchEndpoint]
    drained: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseSpec:
    """What a side has: tenants, endpoints of each, what waits beside what is drained, what is over."""

    tenants: int = TENANTS
    each: int = ENDPOINTS_EACH
    waiting: int = 0
    history: int = 0


def measure_backlog(bench: BenchSuite) -> dict[str, list[float]]:
    """Draining where a million waits, against where no more waits than is drained."""
    return {"backlog_ratio": _measure_ratios(bench, "backlog", DatabaseSpec(waiting=bench.sizes.waiting))}


def measure_history(bench: BenchSuite) -> dict[str, list[float]]:
    """Draining in a ledger with millions of deliveries that are over, against an empty one."""
    return {"history_ratio": _measure_ratios(bench, "history", DatabaseSpec(history=bench.sizes.history))}


def measure_endpoints(bench: BenchSuite) -> dict[str, list[float]]:
    """Draining to ten thousand endpoints of a thousand tenants, against fifty of ten."""
    many, drained = DatabaseSpec(MANY_TENANTS, MANY_EACH), MANY_TENANTS * MANY_EACH * DELIVERIES_PER_ENDPOINT
    return {"endpoints_ratio": _measure_ratios(bench, "endpoints", many, drained)}


def _measure_ratios(
    bench: BenchSuite, name: str, scene: DatabaseSpec, drained: int | None = None
) -> list[float]:
    """The rate of a scene, against that of one with nothing but what is drained: of each pair, in turn."""
    with ExitStack() as exits:
        sides = [
            _prepare_side(
                bench,
                f"{name}-{place}",
                exits.enter_context(_open_fresh_database(bench)),
                one,
                drained or bench.sizes.drained,
            )
            for place, one in enumerate((DatabaseSpec(), scene))
        ]
        ratios = []
        for number in range(bench.sizes.pairs):
            turn = sides if number % 2 == 0 else sides[::-1]
            rates = {side.name: _measure_drain(bench, side) for side in turn}
            plain, other = (rates[side.name] for side in sides)
            print(f"  {name}: {plain:,.0f} against {other:,.0f} deliveries/s", flush=True)
            ratios.append(other / plain)
    return ratios


def _prepare_side(
    bench: BenchSuite, name: str, site: BenchDatabase, scene: DatabaseSpec, drained: int
) -> ComparedSide:
    if scene.history:
        _write_history(bench, site, scene.history)
    targets = site.add_tenants(scene.tenants, scene.each, bench.get_hook_url)
    if scene.waiting:
        bench.status.update(f"{name}: {scene.waiting:,} deliveries are made to wait …")
        site.add_pending(targets, scene.waiting)
    return ComparedSide(name, site, targets, drained, scene.waiting)


def _measure_drain(bench: BenchSuite, side: ComparedSide) -> float:
    """Deliveries per second in the middle of the first so many."""
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
    """A site on a database of its own, dropped at the end."""
    server = DatabaseServer(make_url(bench.engine.stack.database_url))
    with server.database() as url:
        site = bench.engine.migrate(url)
        try:
            yield site
        finally:
            site.connection.close()


def _write_history(bench: BenchSuite, site: BenchDatabase, rows: int) -> None:
    """Write it, and count it for the overview: a relay would do that beside what is measured."""
    search_latency.build_history(site.url, rows, bench.status, pending=0)
    asyncio.run(search_latency.roll_up_stats(site.url, bench.status))
