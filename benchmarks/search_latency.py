"""`python -m benchmarks.search_latency`: latency of searches and pages with millions of deliveries.

A private PostgreSQL is filled with a history (`benchmarks.history`). Searches run through the use cases of
the API and the command line, one after another, all kinds in each round. Everything is removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import console_pages, history, history_writer, searches
from benchmarks.history import DAYS, WRITER_COUNT, HistoryPlan, get_midnight
from delivery.clock import clock
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from delivery.services.audit import AuditService
from delivery.services.deliveries import DeliveryService
from delivery.services.stats.rollup import StatsRollup
from tests.support.postgres import connect, migrate, run_database_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.status import Status

    from benchmarks.console_pages import PageMeasure, PageTimes
    from benchmarks.history_writer import WrittenRows
    from benchmarks.searches import SearchKind

ROWS, ROUNDS, WARM_UP = 5_000_000, 200, 5
TARGET_MS = 200
PAGE_TARGET_MS = 150
SEED = 20_261_125
IN_FLIGHT = 50
# Disk per delivery with its event, attempts and indexes, and some for the WAL.
BYTES_PER_DELIVERY = 3_000
VACUUM_GROUPS = (
    "attempts",
    "deliveries, schedule, claims, endpoint_health",
    "events, failures, endpoint_sequence, journal",
)


@dataclass(frozen=True, slots=True)
class BuiltHistory:
    """The history, and the time and disk it took."""

    plan: HistoryPlan
    parts: Sequence[WrittenRows]
    seconds: float
    gigabytes: float


@dataclass(frozen=True, slots=True)
class SearchTimes:
    """Durations in milliseconds, and numbers of results, of one kind of search."""

    took: list[float]
    items: list[int]

    def percentile(self, which: int) -> float:
        """The percentile of the durations."""
        return compute_percentile(self.took, which)


def build_history(url: str, rows: int, status: Status, *, pending: int | None = None) -> BuiltHistory:
    """Fill a migrated database with two processes; `pending` deliveries are unfinished."""
    began = time.perf_counter()
    plan = HistoryPlan.make(rows, clock(), SEED, pending=pending)
    asyncio.run(_make_partitions(url, plan))
    history.write_owners(url, plan)
    status.update(f"Writing {rows:,} deliveries …")
    with ProcessPoolExecutor(WRITER_COUNT, get_context("spawn")) as processes:
        writing = [
            processes.submit(history_writer.write_part, url, plan, half) for half in range(WRITER_COUNT)
        ]
        history.write_journal(url, plan)
        written = [half.result() for half in writing]
    numbers, in_flight = Counter[str](), Counter[str]()
    for half in written:
        numbers += half.numbers
        in_flight += half.in_flight
    history.write_health(url, plan, numbers, in_flight)
    status.update("Vacuum and statistics, as autovacuum leaves them …")
    with ThreadPoolExecutor(WRITER_COUNT) as threads:
        list(threads.map(lambda tables: _execute(url, f"vacuum (analyze) {tables}"), VACUUM_GROUPS))
    seconds = time.perf_counter() - began
    return BuiltHistory(plan, written, seconds, _read_database_size(url) / 1e9)


async def measure_searches(
    url: str, kinds: Sequence[SearchKind], values: searches.SearchValues, rounds: int, status: Status
) -> dict[SearchKind, SearchTimes]:
    """Run every kind of search once a round, after some warm-up rounds."""
    ledger = Ledger(url, pool_size=1, application_name="waybill bench")
    engine = searches.SearchServices(
        DeliveryService(ledger, clock=clock, default_max_in_flight=IN_FLIGHT), AuditService(ledger)
    )
    times_by_kind = {kind: SearchTimes([], []) for kind in kinds}
    try:
        for number in range(WARM_UP + rounds):
            status.update(f"Searching, round {number + 1} of {WARM_UP + rounds} …")
            for kind in kinds:
                search = kind.prepare(values)
                began = time.perf_counter()
                items = await search.run(engine)
                took = (time.perf_counter() - began) * 1000
                if number >= WARM_UP:
                    times_by_kind[kind].took.append(took)
                    times_by_kind[kind].items.append(items)
    finally:
        await ledger.close()
    return times_by_kind


def build_search_table(found: Mapping[SearchKind, SearchTimes], built: BuiltHistory) -> Table:
    """The percentiles, in milliseconds."""
    rows = sum(half.rows["deliveries"] for half in built.parts)
    table = Table(
        title=f"Searching {rows:,} deliveries ({built.gigabytes:.1f} GB, built in {built.seconds:.0f} s): "
        "a page of 50, in ms",
        title_justify="left",
        caption=f"Target for indexed searches: p95 < {TARGET_MS}. The others scan a bounded number of rows "
        "for a page.",
        caption_justify="left",
    )
    table.add_column("search")
    table.add_column("found by")
    for name in ("p50", "p95", "p99", "rows found, median"):
        table.add_column(name, justify="right")
    for kind, times in found.items():
        percentiles = [f"{times.percentile(which):.1f}" for which in (50, 95, 99)]
        how = "index" if kind.is_indexed else "scan"
        table.add_row(kind.name, how, *percentiles, f"{statistics.median(times.items):,.0f}")
    return table


def build_page_table(served: Mapping[PageMeasure, PageTimes], rolled_seconds: float) -> Table:
    """The percentiles of the console's pages, in milliseconds."""
    table = Table(
        title="Pages of the console, from `web` over a socket, in ms",
        title_justify="left",
        caption=f"Target: p95 < {PAGE_TARGET_MS}. Rolling up statistics took {rolled_seconds:.0f} s before.",
        caption_justify="left",
    )
    table.add_column("page")
    for name in ("p50", "p95", "p99", "KiB, median"):
        table.add_column(name, justify="right")
    for kind, times in served.items():
        percentiles = [f"{compute_percentile(times.milliseconds, which):.1f}" for which in (50, 95, 99)]
        table.add_row(kind.name, *percentiles, f"{statistics.median(times.sizes) / 1024:.0f}")
    return table


async def roll_up_stats(url: str, status: Status) -> float:
    """Roll up statistics for the overview, as the relay does; returns the seconds it took."""
    began = time.perf_counter()
    ledger = Ledger(url, pool_size=1, application_name="waybill bench")
    rolling = StatsRollup(ledger, retention=timedelta(days=DAYS), clock=clock)
    try:
        status.update("Rolling up statistics …")
        while await rolling.step():
            pass
    finally:
        await ledger.close()
    return time.perf_counter() - began


def compute_percentile(took: Sequence[float], which: int) -> float:
    """The percentile of the durations."""
    return statistics.quantiles(took, n=100, method="inclusive")[which - 1]


def summarize(
    found: Mapping[SearchKind, SearchTimes], served: Mapping[PageMeasure, PageTimes], built: BuiltHistory
) -> dict[str, object]:
    """The highest p95 of indexed searches, and the p95 of each search and page."""
    pages_p95 = {
        kind.name: round(compute_percentile(times.milliseconds, 95), 1) for kind, times in served.items()
    }
    p95 = {kind.name: round(times.percentile(95), 1) for kind, times in found.items()}
    return {
        "deliveries": sum(half.rows["deliveries"] for half in built.parts),
        "attempts": sum(half.rows["attempts"] for half in built.parts),
        "build_s": round(built.seconds),
        "gigabytes": round(built.gigabytes, 1),
        "indexed_p95_ms": max((p95[kind.name] for kind in found if kind.is_indexed), default=None),
        "all_p95_ms": max(p95.values(), default=None),
        "pages_p95_ms": max(pages_p95.values(), default=None),
        "p95_ms": p95,
        "p95_ms_of_pages": pages_p95,
    }


async def _make_partitions(url: str, plan: HistoryPlan) -> None:
    ledger = Ledger(url, pool_size=1, application_name="waybill bench")
    try:
        async with ledger.transaction() as tx:
            for day in plan.days:
                await partitions.ensure_partitions(tx, now=get_midnight(day))
    finally:
        await ledger.close()


def _execute(url: str, statement: str) -> None:
    with connect(url) as database:
        database.execute(statement.encode())


def _read_database_size(url: str) -> int:
    with connect(url) as database:
        row = database.execute("select pg_database_size(current_database())").fetchone()
    return 0 if row is None else int(row[0])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_latency", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="deliveries to search among")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds")
    parser.add_argument("--only", default="", help="only searches whose name contains this; `-`: none")
    parser.add_argument("--pages", default="", help="only pages whose name contains this")
    return parser.parse_args()


def main() -> None:
    """Build, measure, and print tables and a line of JSON."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up gigabytes
    arguments = _parse_arguments()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < arguments.rows * BYTES_PER_DELIVERY:
        needed = arguments.rows * BYTES_PER_DELIVERY / 1e9
        raise SystemExit(f"This needs {needed:.0f} GB of disk, and {free / 1e9:.0f} GB are free: use --rows.")
    kinds = [kind for kind in searches.SEARCHES if arguments.only in kind.name]
    console = Console()
    with (
        console.status("Starting PostgreSQL …") as status,
        run_database_server() as server,
        server.database() as url,
    ):
        migrate(url)
        built = build_history(url, arguments.rows, status)
        values = searches.SearchValues(built.plan, [one for half in built.parts for one in half.events])
        found = asyncio.run(measure_searches(url, kinds, values, arguments.rounds, status)) if kinds else {}
        rolled = asyncio.run(roll_up_stats(url, status))
        status.update("Fetching pages …")
        drawn = console_pages.load_page_values(url, values)
        pages = [kind for kind in console_pages.PAGES if arguments.pages in kind.name]
        with console_pages.serve_console(url) as browser:
            served = console_pages.measure_pages(
                browser, pages, drawn, rounds=arguments.rounds, warm_up=WARM_UP
            )
    if found:
        console.print(build_search_table(found, built))
    console.print(build_page_table(served, rolled))
    print(json.dumps(summarize(found, served, built)))


if __name__ == "__main__":
    main()
