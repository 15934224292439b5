"""`python -m benchmarks.ledger`: how long searches and pages take among millions of deliveries.

A private PostgreSQL is filled with a history (`benchmarks.history`), and asked through the use cases that the
API and the command line ask, one search after another, all kinds in turn. Everything is removed at the end.
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

from benchmarks import halves, history, pages, searches
from benchmarks.history import DAYS, HALVES, Plan, midnight
from delivery.audit import Audit
from delivery.bootstrap import clock
from delivery.deliveries import Deliveries
from delivery.figures import Rolling
from delivery.ledger import Ledger, partitions
from tests.support.postgres import connect, database_server, migrate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.status import Status

    from benchmarks.halves import Written
    from benchmarks.pages import PageKind, Served
    from benchmarks.searches import Search

ROWS, ROUNDS, WARM_UP = 5_000_000, 200, 5
TARGET_MS = 200
PAGE_TARGET_MS = 150
SEED = 20_261_125
IN_FLIGHT = 50
# Of disk, for each delivery with its event, its attempts and all indexes; with room for the log.
BYTES_EACH = 3_000
BIG = (
    "attempts",
    "deliveries, schedule, claims, endpoint_health",
    "events, failures, endpoint_sequence, journal",
)


@dataclass(frozen=True, slots=True)
class Built:
    """What there is to search in, and what it took."""

    plan: Plan
    halves: Sequence[Written]
    seconds: float
    gigabytes: float


@dataclass(frozen=True, slots=True)
class Found:
    """How long one kind of search took, each time, in milliseconds, and how much it has found."""

    took: list[float]
    items: list[int]

    def percentile(self, which: int) -> float:
        """The time below which so many of a hundred lie."""
        return percentile(self.took, which)


def build(url: str, rows: int, status: Status, *, pending: int | None = None) -> Built:
    """Fill a migrated database, two processes at a time; so many deliveries are not over."""
    began = time.perf_counter()
    plan = Plan.of(rows, clock(), SEED, pending=pending)
    asyncio.run(_make_partitions(url, plan))
    history.write_owners(url, plan)
    status.update(f"Writing {rows:,} deliveries …")
    with ProcessPoolExecutor(HALVES, get_context("spawn")) as processes:
        writing = [processes.submit(halves.write_half, url, plan, half) for half in range(HALVES)]
        history.write_journal(url, plan)
        written = [half.result() for half in writing]
    numbers, in_flight = Counter[str](), Counter[str]()
    for half in written:
        numbers += half.numbers
        in_flight += half.in_flight
    history.write_health(url, plan, numbers, in_flight)
    status.update("Vacuum and statistics, as autovacuum leaves them …")
    with ThreadPoolExecutor(HALVES) as threads:
        list(threads.map(lambda tables: _run(url, f"vacuum (analyze) {tables}"), BIG))
    seconds = time.perf_counter() - began
    return Built(plan, written, seconds, _size(url) / 1e9)


async def measure(
    url: str, kinds: Sequence[Search], dice: searches.Dice, rounds: int, status: Status
) -> dict[Search, Found]:
    """Ask every kind of search so often, in turn, after some rounds that do not count."""
    ledger = Ledger(url, pool_size=1, application="waybill bench")
    engine = searches.Engine(Deliveries(ledger, clock=clock, in_flight=IN_FLIGHT), Audit(ledger))
    kept = {kind: Found([], []) for kind in kinds}
    try:
        for number in range(WARM_UP + rounds):
            status.update(f"Searching, round {number + 1} of {WARM_UP + rounds} …")
            for kind in kinds:
                asked = kind.ask(dice)
                began = time.perf_counter()
                items = await asked.of(engine)
                took = (time.perf_counter() - began) * 1000
                if number >= WARM_UP:
                    kept[kind].took.append(took)
                    kept[kind].items.append(items)
    finally:
        await ledger.close()
    return kept


def table(found: Mapping[Search, Found], built: Built) -> Table:
    """All percentiles, in milliseconds."""
    rows = sum(half.rows["deliveries"] for half in built.halves)
    shown = Table(
        title=f"Searching {rows:,} deliveries ({built.gigabytes:.1f} GB, built in {built.seconds:.0f} s): "
        "a page of 50, in ms",
        title_justify="left",
        caption=f"Wanted of what an index finds: p95 < {TARGET_MS}. The others look at a bounded number of "
        "rows for a page.",
        caption_justify="left",
    )
    shown.add_column("search")
    shown.add_column("found by")
    for name in ("p50", "p95", "p99", "rows found, median"):
        shown.add_column(name, justify="right")
    for kind, times in found.items():
        percentiles = [f"{times.percentile(which):.1f}" for which in (50, 95, 99)]
        how = "index" if kind.indexed else "looking"
        shown.add_row(kind.name, how, *percentiles, f"{statistics.median(times.items):,.0f}")
    return shown


def table_of_pages(served: Mapping[PageKind, Served], rolled_seconds: float) -> Table:
    """All percentiles of the console's pages, in milliseconds."""
    shown = Table(
        title="Pages of the console, from `web` over a socket, in ms",
        title_justify="left",
        caption=f"Wanted: p95 < {PAGE_TARGET_MS}. Figures were rolled up in {rolled_seconds:.0f} s before.",
        caption_justify="left",
    )
    shown.add_column("page")
    for name in ("p50", "p95", "p99", "KiB, median"):
        shown.add_column(name, justify="right")
    for kind, times in served.items():
        percentiles = [f"{percentile(times.took, which):.1f}" for which in (50, 95, 99)]
        shown.add_row(kind.name, *percentiles, f"{statistics.median(times.sizes) / 1024:.0f}")
    return shown


async def roll(url: str, status: Status) -> float:
    """Count the history for the overview, as the relay does in the background; how long that took."""
    began = time.perf_counter()
    ledger = Ledger(url, pool_size=1, application="waybill bench")
    rolling = Rolling(ledger, kept=timedelta(days=DAYS), clock=clock)
    try:
        status.update("Counting the history for the overview …")
        while await rolling.step():
            pass
    finally:
        await ledger.close()
    return time.perf_counter() - began


def percentile(took: Sequence[float], which: int) -> float:
    """The time below which so many of a hundred lie."""
    return statistics.quantiles(took, n=100, method="inclusive")[which - 1]


def figures(
    found: Mapping[Search, Found], served: Mapping[PageKind, Served], built: Built
) -> dict[str, object]:
    """The worst of what an index finds, and the p95 of each search and each page."""
    pages_p95 = {kind.name: round(percentile(times.took, 95), 1) for kind, times in served.items()}
    p95 = {kind.name: round(times.percentile(95), 1) for kind, times in found.items()}
    return {
        "deliveries": sum(half.rows["deliveries"] for half in built.halves),
        "attempts": sum(half.rows["attempts"] for half in built.halves),
        "build_s": round(built.seconds),
        "gigabytes": round(built.gigabytes, 1),
        "indexed_p95_ms": max((p95[kind.name] for kind in found if kind.indexed), default=None),
        "all_p95_ms": max(p95.values(), default=None),
        "pages_p95_ms": max(pages_p95.values(), default=None),
        "p95_ms": p95,
        "p95_ms_of_pages": pages_p95,
    }


async def _make_partitions(url: str, plan: Plan) -> None:
    ledger = Ledger(url, pool_size=1, application="waybill bench")
    try:
        async with ledger.transaction() as tx:
            for day in plan.days:
                await partitions.ensure(tx, now=midnight(day))
    finally:
        await ledger.close()


def _run(url: str, statement: str) -> None:
    with connect(url) as database:
        database.execute(statement.encode())


def _size(url: str) -> int:
    with connect(url) as database:
        row = database.execute("select pg_database_size(current_database())").fetchone()
    return 0 if row is None else int(row[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="deliveries to search among")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each search is made")
    parser.add_argument("--only", default="", help="only searches whose name has this in it; `-`: none")
    parser.add_argument("--pages", default="", help="only pages whose name has this in it")
    return parser.parse_args()


def main() -> None:
    """Build, measure, print a table, and last of all one line of JSON."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # gigabytes are not left behind
    arguments = _arguments()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < arguments.rows * BYTES_EACH:
        needed = arguments.rows * BYTES_EACH / 1e9
        raise SystemExit(f"{needed:.0f} GB of disk are needed, {free / 1e9:.0f} GB are free: use --rows.")
    kinds = [kind for kind in searches.KINDS if arguments.only in kind.name]
    console = Console()
    with (
        console.status("Starting PostgreSQL …") as status,
        database_server() as server,
        server.database() as url,
    ):
        migrate(url)
        built = build(url, arguments.rows, status)
        dice = searches.Dice(built.plan, [one for half in built.halves for one in half.events])
        found = asyncio.run(measure(url, kinds, dice, arguments.rounds, status)) if kinds else {}
        rolled = asyncio.run(roll(url, status))
        status.update("Looking at pages …")
        drawn = pages.drawn(url, dice)
        wanted = [kind for kind in pages.KINDS if arguments.pages in kind.name]
        with pages.signed_in(url) as browser:
            served = pages.measure(browser, wanted, drawn, rounds=arguments.rounds, warm_up=WARM_UP)
    if found:
        console.print(table(found, built))
    console.print(table_of_pages(served, rolled))
    print(json.dumps(figures(found, served, built)))


if __name__ == "__main__":
    main()
