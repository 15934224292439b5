"""`python -m benchmarks.replay_impact`: the effect of a replay on live traffic to the same endpoints.

The same stream goes to fifty endpoints twice: alone, and while all their failed deliveries are replayed as
fast as possible. The runs alternate.
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
# Long enough for the in-flight limit to matter.
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
    """Latency of live deliveries, accepted to recorded success, and the rate of the replay."""

    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    replayed_per_second: float


class ReplayBench:
    """A tenant whose endpoints get live events and replays."""

    def __init__(self, stack: Stack) -> None:
        """Create tenants and endpoints."""
        self._engine = ContentionEngine(stack, kinds=ENDPOINTS)
        self._key = self._engine.create_tenant("a")
        self._endpoints = [
            self._engine.create_endpoint(self._key, f"/live/{kind}", kind) for kind in range(ENDPOINTS)
        ]

    def run(self, seconds: float, rate: float, *, replay: int) -> ReplayRun:
        """Run the stream during a replay of this many deliveries; 0: alone."""
        engine = self._engine
        engine.start_run(self._key, full_speed_paths="%/live/%")
        engine.receiver.set_behaviour("/live/", ENDPOINT_BEHAVIOUR)
        path = self._start_replay(replay) if replay else ""
        counts = engine.post_at_rate(self._key, seconds, rate)
        done = engine.get(path, key=self._key)["progress"] if path else {"done": 0, "remaining": 1}
        if not done["remaining"]:
            raise RuntimeError("The replay ended before the stream: use a larger --replay.")
        engine.wait_until_delivered("/live/") if not path else self._cancel_replay(path)
        p50, p99, count = engine.database.fetch_row(_LIVE)
        engine.kill_workers()
        if count != round(seconds * rate):
            raise RuntimeError(f"{count} of {seconds * rate:.0f} events arrived.")
        return ReplayRun(float(p50), float(p99), counts["late_p99_ms"], done["done"] / seconds)

    def measure_replay_alone(self, replay: int, seconds: float) -> float:
        """Measure the deliveries per second of a replay without live traffic."""
        engine = self._engine
        engine.start_run(self._key, full_speed_paths="%/live/%")
        engine.receiver.set_behaviour("/live/", ENDPOINT_BEHAVIOUR)
        path = self._start_replay(replay)
        before = engine.get(path, key=self._key)["progress"]["done"]
        began = time.monotonic()
        wait_until(
            lambda: time.monotonic() - began > seconds or not self._has_remaining(path),
            "the replay",
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
        replay_body = {"selection": {"status": ["failed"]}, "reason": "bench"}
        path = f"/v1/replays/{self._engine.post('/v1/replays', replay_body, key=self._key)['id']}"
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
    """The results of live traffic."""
    table = Table(title=title, title_justify="left")
    for heading in ("live deliveries", "alone", "during a replay", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "live deliveries" else "right")
    for key, label, ratio, target in (
        ("p50_ms", "accepted → recorded success, p50 ms", None, ""),
        ("p99_ms", "accepted → recorded success, p99 ms", "p99_ratio", f"≤ {MAX_P99_RATIO}"),
        ("late_p99_ms", "events posted late by, p99 ms", None, ""),
    ):
        values = [f"{found[f'{key}_{name}']:,.1f}" for name in ("alone", "beside_replay")]
        table.add_row(label, *values, "" if ratio is None else f"{found[ratio]}", target)
    return table


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_impact", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; medians are shown")
    parser.add_argument("--seconds", type=float, default=20, help="duration of the stream")
    parser.add_argument("--rate", type=float, default=300, help="live events per second in total")
    parser.add_argument("--replay", type=int, default=40_000, help="deliveries to replay")
    return parser.parse_args()


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    arguments = _parse_arguments()
    console = Console()
    alone: list[ReplayRun] = []
    beside: list[ReplayRun] = []
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = ReplayBench(stack)
        for number in range(1, arguments.rounds + 1):
            status.update(f"Round {number}: live traffic alone …")
            alone.append(bench.run(arguments.seconds, arguments.rate, replay=0))
            status.update(f"Round {number}: live traffic during a replay …")
            beside.append(bench.run(arguments.seconds, arguments.rate, replay=arguments.replay))
        status.update("A replay alone …")
        replay_alone = bench.measure_replay_alone(arguments.replay, arguments.seconds)
    found = summarize(alone, beside, replay_alone)
    console.print(
        build_table(found, f"{arguments.rate:.0f} events/s for {arguments.seconds:.0f} s, to 50 endpoints")
    )
    console.print(
        f"Replayed: {found['replayed_per_s_beside_live']:,} deliveries/s during live traffic, "
        f"{found['replayed_per_s_alone']:,} alone."
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
