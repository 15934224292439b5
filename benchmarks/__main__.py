"""`python -m benchmarks`: measure the whole path on this machine, beside a naive baseline in the same run.

`benchmarks.held` is part of it; `benchmarks.isolation` is measured by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics

from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from benchmarks import held
from benchmarks.figures import Bench
from tests.support.postgres import DatabaseServer
from tests.support.stack import running_servers

TARGETS = {"e2e_per_s": 1_200, "drain_per_s": 3_000, "ratio_to_naive": 4}


def main() -> None:
    """Measure, print a table, and last of all one line of JSON."""
    arguments = _arguments()
    console = Console()
    figures: dict[str, float | None] = {}
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, running_servers() as stack:
        os.environ.update(stack.environment)
        beside = held.run(DatabaseServer(make_url(stack.database_url)), arguments.held_rounds, status)
        bench = Bench(stack)
        drains, ends, naives = [], [], []
        for number in range(1, arguments.rounds + 1):
            status.update(f"Round {number}: draining {arguments.backlog:,} waiting deliveries …")
            drains.append(bench.drain(arguments.backlog))
            status.update(f"Round {number}: single-event POSTs for {arguments.seconds:.0f} s …")
            ends.append(bench.end_to_end(arguments.seconds, arguments.connections))
            status.update(f"Round {number}: the naive baseline, {arguments.naive:,} deliveries …")
            naives.append(bench.naive(arguments.naive))
    figures["e2e_per_s"] = round(statistics.median(end.per_second for end in ends))
    figures["drain_per_s"] = round(statistics.median(drains))
    figures["naive_per_s"] = round(statistics.median(naives))
    figures["ratio_to_naive"] = round(
        statistics.median(drain / naive for drain, naive in zip(drains, naives, strict=True)), 1
    )
    figures["accept_p50_ms"] = round(statistics.median(end.answer_p50_ms for end in ends), 1)
    figures["accept_p99_ms"] = round(statistics.median(end.answer_p99_ms for end in ends), 1)
    figures["delivered_p50_ms"] = round(statistics.median(end.delivered_p50_ms for end in ends), 1)
    figures["delivered_p99_ms"] = round(statistics.median(end.delivered_p99_ms for end in ends), 1)
    figures["refused"] = sum(end.refused for end in ends)
    figures |= held.figures(beside)
    console.print(_table(figures, arguments))
    console.print(_processor_table(ends[-1].processor_us))
    console.print(held.table(beside))
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="how often to measure; medians are shown")
    parser.add_argument("--backlog", type=int, default=50_000, help="deliveries to drain")
    parser.add_argument("--seconds", type=float, default=20, help="how long to post single events")
    parser.add_argument("--connections", type=int, default=48, help="connections that post them")
    parser.add_argument("--naive", type=int, default=5_000, help="deliveries of the naive baseline")
    parser.add_argument("--held-rounds", type=int, default=40, help="how often to claim beside held ones")
    return parser.parse_args()


def _table(figures: dict[str, float | None], arguments: argparse.Namespace) -> Table:
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, everything on this machine"
    table = Table(title=f"Waybill: {where}", title_justify="left")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    labels = {
        "e2e_per_s": f"single POST → recorded success, events/s, {arguments.seconds:.0f} s",
        "drain_per_s": f"draining {arguments.backlog:,} waiting, deliveries/s",
        "naive_per_s": "naive baseline, deliveries/s",
        "ratio_to_naive": "ratio to naive",
        "accept_p50_ms": "POST answered under that load, p50 ms",
        "accept_p99_ms": "POST answered under that load, p99 ms",
        "delivered_p50_ms": "accepted → recorded success under that load, p50 ms",
        "delivered_p99_ms": "accepted → recorded success under that load, p99 ms",
        "refused": "POSTs not answered 202",
    }
    for key, label in labels.items():
        target = TARGETS.get(key)
        table.add_row(label, f"{figures[key]:,}", "" if target is None else f"≥ {target:,}")
    return table


def _processor_table(used: dict[str, float]) -> Table:
    table = Table(title="Single POSTs: processor time", title_justify="left")
    table.add_column("process")
    table.add_column("µs an event", justify="right")
    for name, microseconds in sorted(used.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{microseconds:,.0f}")
    table.add_row("all", f"{sum(used.values()):,.0f}")
    return table


if __name__ == "__main__":
    main()
