"""`python -m benchmarks.replay_impact`: what live traffic notices of a replay to the same endpoints.

The same stream goes to fifty endpoints twice: once alone, once while all that ever failed there is replayed
as fast as replays may go. Turn by turn, several times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.contention_engine import ContentionEngine
from benchmarks.engine import TIMEOUT_SECONDS
from tests.support.failed_deliveries import add_failed_deliveries
from tests.support.misbehaving_receiver import PathBehaviour
from tests.support.stack import run_servers, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.stack import Stack

ENDPOINTS = 50
MAX_P99_RATIO = 2.0
# Long enough that an endpoint's places matter.
ENDPOINT_BEHAVIOUR = PathBehaviour(delay=0.03)

_LIVE = """
    select percentile_cont(0.5) within group (order by took) as p50,
           percentile_cont(0.99) within group (order by took) as p99, count(*) as count
    from (
        select extract(epoch from finished_at - created_at) * 1000 as took
        from deliveries where event_type <> 'order.created' and status = 'succeeded'
    ) as live
"""


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """From accepted to recorded success, of live deliveries; and what was replayed meanwhile."""

    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    replayed_per_second: float


class ReplayBench:
    """One tenant whose endpoints get live events, and replays of old ones."""

    def __init__(self, stack: Stack) -> None:
        """Create who owns what."""
        self._engine = ContentionEngine(stack, kinds=ENDPOINTS)
        self._key = self._engine.create_tenant("a")
        self._endpoints = [
            self._engine.create_endpoint(self._key, f"/live/{kind}", kind) for kind in range(ENDPOINTS)
        ]

    def run(self, seconds: float, rate: float, *, replay: int) -> ReplayRun:
        """Let the stream flow, beside a replay of so many deliveries; 0: alone."""
        engine = self._engine
        engine.start_run(self._key, full_speed_paths="%/live/%")
        engine.receiver.set_behaviour("/live/", ENDPOINT_BEHAVIOUR)
        path = self._start_replay(replay) if replay else ""
        said = engine.post_at_rate(self._key, seconds, rate)
        done = engine.get(path, key=self._key)["progress"] if path else {"done": 0, "remaining": 1}
        if not done["remaining"]:
            raise RuntimeError("The replay was over before the stream was: replay more.")
        engine.wait_until_delivered("/live/") if not path else self._cancel_replay(path)
        p50, p99, count = engine.database.fetch_row(_LIVE)
        engine.kill_workers()
        if count != round(seconds * rate):
            raise RuntimeError(f"{count} of {seconds * rate:.0f} events arrived.")
        return ReplayRun(float(p50), float(p99), said["late_p99_ms"], done["done"] / seconds)

    def measure_replay_alone(self, replay: int, seconds: float) -> float:
        """How many deliveries per second a replay makes that has the engine to itself."""
        engine = self._engine
        engine.start_run(self._key, full_speed_paths="%/live/%")
        engine.receiver.set_behaviour("/live/", ENDPOINT_BEHAVIOUR)
        path = self._start_replay(replay)
        before = engine.get(path, key=self._key)["progress"]["done"]
        began = time.monotonic()
        wait_until(
            lambda: time.monotonic() - began > seconds or not self._has_remaining(path),
            "it",
            seconds=TIMEOUT_SECONDS,
        )
        took = time.monotonic() - began
        done = engine.get(path, key=self._key)["progress"]["done"]
        if self._has_remaining(path):
            self._cancel_replay(path)
        engine.kill_workers()
        return float(done - before) / took

    def _has_remaining(self, path: str) -> bool:
        return bool(self._engine.get(path, key=self._key)["progress"]["remaining"])

    def _start_replay(self, replay: int) -> str:
        add_failed_deliveries(self._engine.database.connection, self._endpoints, replay)
        asked = {"selection": {"status": ["failed"]}, "reason": "bench"}
        path = f"/v1/replays/{self._engine.post('/v1/replays', asked, key=self._key)['id']}"
        wait_until(
            lambda: self._engine.get(path, key=self._key)["progress"]["done"] > 0,
            "the replay to move",
            seconds=TIMEOUT_SECONDS,
        )
        return path

    def _cancel_replay(self, path: str) -> None:
        self._engine.post(f"{path}/cancel", {}, key=self._key)
        wait_until(
            lambda: self._engine.get(path, key=self._key)["state"] == "cancelled",
            "the replay to end",
            seconds=TIMEOUT_SECONDS,
        )
        self._engine.wait_until_delivered("/live/")


def summarize(
    alone: Sequence[ReplayRun], beside: Sequence[ReplayRun], replay_alone: float
) -> dict[str, float]:
    """The medians, and the medians of each pair's ratio."""
    pairs = list(zip(alone, beside, strict=True))
    found: dict[str, float] = {}
    for name, runs in (("alone", alone), ("beside_replay", beside)):
        for field in ("p50_ms", "p99_ms", "late_p99_ms"):
            found[f"{field}_{name}"] = round(statistics.median(getattr(run, field) for run in runs), 1)
    found["p99_ratio"] = round(statistics.median(b.p99_ms / a.p99_ms for a, b in pairs), 2)
    found["replayed_per_s_beside_live"] = round(statistics.median(run.replayed_per_second for run in beside))
    found["replayed_per_s_alone"] = round(replay_alone)
    return found


def build_table(found: dict[str, float], title: str) -> Table:
    """What live traffic noticed."""
    shown = Table(title=title, title_justify="left")
    for heading in ("live deliveries", "alone", "beside a replay", "ratio", "target"):
        shown.add_column(heading, justify="left" if heading == "live deliveries" else "right")
    for key, label, ratio, target in (
        ("p50_ms", "accepted → recorded success, p50 ms", None, ""),
        ("p99_ms", "accepted → recorded success, p99 ms", "p99_ratio", f"≤ {MAX_P99_RATIO}"),
        ("late_p99_ms", "events posted too late, p99 ms", None, ""),
    ):
        values = [f"{found[f'{key}_{name}']:,.1f}" for name in ("alone", "beside_replay")]
        shown.add_row(label, *values, "" if ratio is None else f"{found[ratio]}", target)
    return shown


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_impact", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure; medians are shown")
    parser.add_argument("--seconds", type=float, default=20, help="how long the stream flows")
    parser.add_argument("--rate", type=float, default=300, help="live events a second in all")
    parser.add_argument("--replay", type=int, default=40_000, help="how many deliveries are replayed")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table, and last of all one line of JSON."""
    given = _parse_arguments()
    console = Console()
    alone: list[ReplayRun] = []
    beside: list[ReplayRun] = []
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = ReplayBench(stack)
        for number in range(1, given.rounds + 1):
            status.update(f"Round {number}: live traffic alone …")
            alone.append(bench.run(given.seconds, given.rate, replay=0))
            status.update(f"Round {number}: live traffic beside a replay …")
            beside.append(bench.run(given.seconds, given.rate, replay=given.replay))
        status.update("A replay alone …")
        replay_alone = bench.measure_replay_alone(given.replay, given.seconds)
    found = summarize(alone, beside, replay_alone)
    console.print(build_table(found, f"{given.rate:.0f} events/s for {given.seconds:.0f} s, to 50 endpoints"))
    console.print(
        f"Replayed: {found['replayed_per_s_beside_live']:,} deliveries/s beside live traffic, "
        f"{found['replayed_per_s_alone']:,} alone."
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
