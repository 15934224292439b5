"""`python -m benchmarks.start_cost`: processor time of commands, and of `serve relay` until it is ready.

User and system time of the whole process; of `serve relay` until it logs `relay.ready`. With `--base FOLDER`,
the commands of another checkout alternate with ours, on its own database.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from benchmarks.other_processes import OtherProcesses
from delivery.cli.output.table import print_json
from tests.support.postgres import DatabaseServer
from tests.support.stack import ROOT, run_servers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.stack import Stack

ROUNDS: Final = 9
READY_EVENT: Final = b"relay.ready"
RELAY: Final = "serve relay"
# Before the command line was in `workers`, it was in `delivery.cli`.
ENTRY_POINTS: Final = (("workers/main.py", "workers.main"), ("delivery/cli/__init__.py", "delivery.cli"))


@dataclass(frozen=True, slots=True)
class Build:
    """A checkout of the engine, with a migrated database in which there is a tenant."""

    name: str
    entry_point: str
    environment: Mapping[str, str]

    @classmethod
    def prepare(cls, name: str, folder: Path, stack: Stack, database_url: str) -> Build:
        """Migrate the database and create the tenant."""
        module = next(module for path, module in ENTRY_POINTS if (folder / path).exists())
        environment = stack.environment | {
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "",  # modules are compiled once, as in an installation
            "PYTHONPYCACHEPREFIX": str(stack.folder / "bytecode"),
            "WAYBILL_DATABASE_URL": database_url,
            "WAYBILL_LOG_LEVEL": "info",
        }
        build = cls(name, f"import sys; from {module} import main; sys.exit(main())", environment)
        build.run("db", "upgrade")
        tenant = json.loads(build.run("tenant", "create", "Acme", "--json"))["id"]
        return cls(name, build.entry_point, environment | {"WAYBILL_TENANT": tenant})

    def run(self, *words: str) -> str:
        """Run a command to its end, and return what it printed."""
        command = [sys.executable, "-c", self.entry_point, *words]
        return subprocess.run(
            command, env=self.environment, cwd="/", check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def measure_command(self, words: Sequence[str]) -> float:
        """Run a command to its end; its processor seconds."""
        process = subprocess.Popen(
            [sys.executable, "-c", self.entry_point, *words],
            env=self.environment,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, list(words))
        return usage.ru_utime + usage.ru_stime

    def measure_relay(self) -> float:
        """Start a relay and stop it as soon as it is ready; its processor seconds until then."""
        process = subprocess.Popen(
            [sys.executable, "-c", self.entry_point, *RELAY.split()],
            env=self.environment,
            cwd="/",
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None  # noqa: S101  a pipe was asked for
        with process.stderr:
            if not any(READY_EVENT in line for line in process.stderr):
                raise subprocess.CalledProcessError(process.wait(), RELAY)
            times = psutil.Process(process.pid).cpu_times()
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
        process.wait()
        return times.user + times.system


COMMANDS: Final = {
    "--version": ("--version",),
    "--help": ("--help",),
    "endpoint list": ("endpoint", "list"),
    "event send": ("event", "send", "--type", "order.created", "--data", '{"order": 1042}'),
}


def measure_pairs(builds: Sequence[Build], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Processor seconds of each command and build, alternating; the first run of each is discarded."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for name, words in (*COMMANDS.items(), (RELAY, ())):
        runs = seconds[name] = {build.name: [] for build in builds}
        for number in range(rounds + 1):
            for build in builds:
                used = build.measure_command(words) if words else build.measure_relay()
                if number > 0:  # the first run fills file caches and compiles modules
                    runs[build.name].append(used)
    return seconds


def build_report(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """Medians in seconds by command and build, and the ratio of ours to the base."""
    report = {}
    for command, runs in seconds.items():
        medians = {build: round(statistics.median(values), 3) for build, values in runs.items()}
        if "base" in medians:
            medians["ratio"] = round(medians["here"] / medians["base"], 3)
        report[command] = medians
    return report


def print_report(report: Mapping[str, Mapping[str, float]], foreign_share: float) -> None:
    """Print one row for each command."""
    columns = list(next(iter(report.values())))
    table = Table("command", *columns, box=None)
    for command, values in report.items():
        table.add_row(command, *(f"{values[column]:.2f}" for column in columns))
    out = Console()
    out.print(table)
    out.print(
        f"Medians, in seconds of processor time. Other processes used {foreign_share:.0%} of the machine."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_cost", description=__doc__)
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as exits:
        stack = exits.enter_context(run_servers())
        builds = [Build.prepare("here", ROOT, stack, stack.database_url)]
        if arguments.base is not None:
            url = DatabaseServer(make_url(stack.database_url)).create()
            builds.append(Build.prepare("base", arguments.base.absolute(), stack, url))
        others = exits.enter_context(OtherProcesses())
        seconds = measure_pairs(builds, arguments.rounds)
    report = build_report(seconds)
    if arguments.json:
        print_json({"seconds": report, "other_processes": round(others.cpu_share, 3)})
    else:
        print_report(report, others.cpu_share)


if __name__ == "__main__":
    main()
