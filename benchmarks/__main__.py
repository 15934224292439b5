"""Measure the engine end to end on one machine, with PostgreSQL, RabbitMQ, clients and receiver.

The last line is JSON with every figure; figures that were not measured are null.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.engine import deadline
from benchmarks.measurements import FIGURES, KEYS, MEASUREMENTS, RATIO
from benchmarks.other_processes import OtherProcesses
from benchmarks.suite import BenchSizes, BenchSuite
from tests.support.stack import run_servers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.status import Status

    from benchmarks.measurements import Measurement

# A measurement fails after its usual duration times this, plus these seconds.
DEADLINE_FACTOR, DEADLINE_EXTRA_SECONDS = 4, 120
# Above this share of processor time, other processes are reported.
QUIET_CPU_SHARE = 0.05
# The value of each round, by key of the figure.
FoundValues = dict[str, list[float]]


def main() -> int:
    """Measure, and print tables and a line of JSON; returns 1 if a measurement failed."""
    arguments = _parse_arguments()
    if arguments.list:
        Console().print(_build_list_table())
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up processes and files
    measures, sizes = _choose_measures(arguments), _choose_sizes(arguments)
    console = Console()
    began, speeds = time.monotonic(), [_time_additions()]
    found: FoundValues = defaultdict(list)
    failed: list[str] = []
    other_share = 0.0
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = BenchSuite(stack, sizes, status)
        for number in range(1, arguments.rounds + 1):
            for measure in measures:
                status.update(_format_progress(measure, number, arguments.rounds))
                started = time.monotonic()
                with OtherProcesses() as other_processes:
                    failures = _run_measure(bench, measure, found, status, full=arguments.full)
                failed += failures
                console.print(
                    f"{measure.name}: failed"
                    if failures
                    else _format_done(measure, found, time.monotonic() - started, other_processes.cpu_share)
                )
                other_share = max(other_share, other_processes.cpu_share)
            _add_ratio(found, number)
    minutes = (time.monotonic() - began) / 60
    speeds.append(_time_additions())
    rounds = f"{arguments.rounds} round{'s' if arguments.rounds > 1 else ''}"
    how = f"{rounds}, {minutes:.1f} minutes; ten million additions"
    console.print(_build_table(found, f"{how} took {speeds[0]:.2f} s before, {speeds[1]:.2f} s after"))
    if other_share > QUIET_CPU_SHARE:
        print(f"The machine was busy: others used up to {other_share:.0%} of it.", file=sys.stderr)
    for table in (_build_details_table(found), *bench.tables):
        if table.row_count:
            console.print(table)
    print(json.dumps(_build_json(found)))
    return 1 if failed else 0


def _run_measure(
    bench: BenchSuite, measure: Measurement, found: FoundValues, status: Status, *, full: bool
) -> list[str]:
    """Run one measurement; returns its name if it failed, so that the others still run."""
    minutes = measure.minutes[full] or measure.minutes[1]
    try:
        with deadline(minutes * 60 * DEADLINE_FACTOR + DEADLINE_EXTRA_SECONDS, measure.name):
            for key, value in measure.runner(bench).items():
                found[key] += value if isinstance(value, list) else [value]
    except Exception as error:  # noqa: BLE001  the other measurements still run
        status.stop()
        print(f"{measure.name} failed: {error!r}", file=sys.stderr)
        status.start()
        bench.engine.recover()
        return [measure.name]
    return []


def _add_ratio(found: FoundValues, rounds: int) -> None:
    """Compare draining with the naive baseline, if this round measured both."""
    drains, naives = found.get("drain_per_s", []), found.get("naive_per_s", [])
    if len(drains) == len(naives) == rounds:
        found[RATIO.key].append(drains[-1] / naives[-1])


def _build_json(found: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    digits = {figure.key: max(2, figure.digits) for figure in FIGURES}
    return {
        key: round(_aggregate(key, found[key]), digits.get(key, 3)) if found.get(key) else None
        for key in KEYS
    }


def _aggregate(key: str, values: Sequence[float]) -> float:
    """The median of the rounds; for memory the maximum."""
    return max(values) if key == "worker_mib" else statistics.median(values)


def _build_table(found: Mapping[str, Sequence[float]], caption: str) -> Table:
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, everything on this machine"
    table = Table(
        title=f"Waybill: {where}", title_justify="left",
        caption=caption, caption_justify="left",
    )  # fmt: skip
    for heading in ("figure", "measured", "min to max", "target", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "") else "right")
    for figure in FIGURES:
        values = found.get(figure.key, [])
        if not values:
            table.add_row(figure.label, "-", "", figure.target_text, "not measured")
            continue
        value = _aggregate(figure.key, values)
        spread = (
            f"{figure.format_value(min(values))} to {figure.format_value(max(values))}"
            if len(values) > 1
            else ""
        )
        verdict = "" if figure.target is None else "met" if figure.is_met(value) else "missed"
        table.add_row(figure.label, figure.format_value(value), spread, figure.target_text, verdict)
    return table


def _build_details_table(found: Mapping[str, Sequence[float]]) -> Table:
    """Details of the load: latencies and processor time."""
    table = Table(title="Details under load", title_justify="left")
    for heading in ("", "single", "in batches"):
        table.add_column(heading, justify="right" if heading else "left")
    for key in [key.removeprefix("e2e_") for key in found if key.startswith("e2e_") and "_per_s" not in key]:
        if key.startswith("batch_"):
            continue
        values = [found.get(f"{name}_{key}", []) for name in ("e2e", "e2e_batch")]
        label = key.replace("us ", "processor µs per event: ").replace("_", " ")
        table.add_row(
            label,
            *[
                f"{statistics.median(values_of_side):,.1f}" if values_of_side else "-"
                for values_of_side in values
            ],
        )
    return table


def _format_progress(measure: Measurement, number: int, rounds: int) -> str:
    return f"{f'Round {number}: ' if rounds > 1 else ''}{measure.name}, {measure.description} …"


def _time_additions() -> float:
    """Measure how fast this machine is now: seconds for ten million additions."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - began


def _format_done(measure: Measurement, found: FoundValues, seconds: float, others: float) -> str:
    values = [
        f"{figure.key} {figure.format_value(_aggregate(figure.key, found[figure.key]))}"
        for figure in measure.figures
        if found.get(figure.key)
    ]
    return f"{measure.name}: {', '.join(values)} ({seconds:.0f} s, other processes used {others:.0%})"


def _build_list_table() -> Table:
    table = Table(title="Measurements", title_justify="left")
    for heading in ("name", "measures", "figures and targets", "minutes: short", "full"):
        table.add_column(heading)
    for measure in MEASUREMENTS:
        targets = "\n".join(f"{figure.key} {figure.target_text}" for figure in measure.figures)
        short = f"{measure.minutes[0]}" if measure.is_short else "-"
        table.add_row(measure.name, measure.description, targets, short, f"{measure.minutes[1]}")
    return table


def _choose_measures(arguments: argparse.Namespace) -> list[Measurement]:
    if not arguments.only:
        return [measure for measure in MEASUREMENTS if arguments.full or measure.is_short]
    names = arguments.only.split(",")
    unknown = set(names) - {measure.name for measure in MEASUREMENTS}
    if unknown:
        raise SystemExit(f"There is no measurement {', '.join(sorted(unknown))}: see --list.")
    return [measure for measure in MEASUREMENTS if measure.name in names]


def _choose_sizes(arguments: argparse.Namespace) -> BenchSizes:
    sizes = BenchSizes.full() if arguments.full else BenchSizes.short()
    names = ("seconds", "backlog", "waiting", "history", "noisy", "pairs")
    sizes_given = {name: getattr(arguments, name) for name in names}
    return replace(sizes, **{name: value for name, value in sizes_given.items() if value is not None})


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="everything, in up to 40 minutes")
    parser.add_argument("--only", metavar="e2e,drain,…", help="only these measurements; --list names them")
    parser.add_argument("--list", action="store_true", help="name the measurements, targets and durations")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds; medians are shown")
    parser.add_argument("--seconds", type=float, help="duration of the load: 20, with --full 60")
    parser.add_argument("--backlog", type=int, help="deliveries to drain: 50,000, with --full 200,000")
    parser.add_argument("--waiting", type=int, help="waiting deliveries for backlog_ratio: 1,000,000")
    parser.add_argument("--history", type=int, help="finished deliveries for history_ratio: 5,000,000")
    parser.add_argument("--noisy", type=int, help="waiting deliveries of the noisy tenant: 500,000")
    parser.add_argument("--pairs", type=int, help="alternating pairs per ratio: 2")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
