"""`python -m benchmarks.isolation`: the effect of sixteen bad endpoints on fifty healthy ones.

The same stream goes to the healthy endpoints twice: alone, and while bad endpoints of the same tenant get as
much: five never answer, five answer 500, five answer 429, and one takes 14 of its 15 seconds. The runs
alternate, from the moment the endpoints turn bad.

Then one endpoint recovers with a large backlog.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.contention_engine import PAYLOAD_BYTES, ContentionEngine
from benchmarks.engine import TIMEOUT_SECONDS
from tests.support.misbehaving_receiver import ALWAYS_500, NEVER_ANSWERS, PathBehaviour
from tests.support.stack import run_servers, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.stack import Stack

ENDPOINTS = 50
BAD_ENDPOINTS = {
    "never": (5, NEVER_ANSWERS),
    "error": (5, ALWAYS_500),
    "full": (5, PathBehaviour(429, retry_after=30)),
    "slow": (1, PathBehaviour(delay=14)),
}
# Long enough for several requests in flight.
HEALTHY_BEHAVIOUR = PathBehaviour(delay=0.03)
BATCH = 1_000
TARGETS = {"throughput_ratio": 0.9, "p99_ratio": 2.0}
_FOUND = """
    select count(*) / extract(epoch from max(finished_at) - min(created_at)) as per_second,
           percentile_cont(0.5) within group (order by took) as p50,
           percentile_cont(0.99) within group (order by took) as p99, count(*) as count
    from (
        select d.created_at, d.finished_at, extract(epoch from d.finished_at - d.created_at) * 1000 as took
        from deliveries d join endpoints e on e.id = d.endpoint_id
        where e.url like '%/healthy/%' and d.status = 'succeeded'
    ) as healthy
"""


@dataclass(frozen=True, slots=True)
class IsolationRun:
    """Results of the healthy endpoints, accepted to recorded success, and the cost of the bad ones."""

    per_second: float
    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    refused: int
    bad_requests: int
    held: int
    processor_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class RecoveryRun:
    """How an endpoint with a backlog recovered."""

    seconds: float
    max_in_flight: int
    duplicates: int


class IsolationBench:
    """A tenant without and one with bad endpoints, and a third whose endpoint recovers."""

    def __init__(self, stack: Stack) -> None:
        """Create tenants and endpoints."""
        self._engine = engine = ContentionEngine(stack, kinds=ENDPOINTS)
        self._alone, self._beside, self._returning = (engine.create_tenant(name) for name in "abc")
        for key in (self._alone, self._beside):
            for kind in range(ENDPOINTS):
                engine.create_endpoint(key, f"/healthy/{key[-8:]}/{kind}", kind)
        for number, path in enumerate(list_bad_paths()):
            engine.create_endpoint(self._beside, path, number)
        engine.create_endpoint(self._returning, "/returning/", 0)

    def run(self, seconds: float, rate: float, *, beside_bad: bool) -> IsolationRun:
        """Run the stream to the healthy endpoints, alone or with the bad ones."""
        key = self._beside if beside_bad else self._alone
        self._engine.start_run(key, full_speed_paths="%/healthy/%")
        self._behave_badly()
        before = self._engine.stack.processor_seconds()
        counts = self._engine.post_at_rate(key, seconds, rate)
        self._engine.wait_until_delivered("/healthy/")
        after = self._engine.stack.processor_seconds()
        held = self._engine.database.fetch_row("select count(*) from schedule")[0]
        received = self._engine.receiver.read_stats()
        self._engine.kill_workers()
        per_second, p50, p99, count = self._engine.database.fetch_row(_FOUND)
        if count != round(seconds * rate):
            raise RuntimeError(f"{count} of {seconds * rate:.0f} events arrived.")
        return IsolationRun(
            per_second=float(per_second),
            p50_ms=float(p50),
            p99_ms=float(p99),
            late_p99_ms=counts["late_p99_ms"],
            refused=counts["refused"],
            bad_requests=sum(
                one.requests for path, one in received.items() if not path.startswith("/healthy")
            ),
            held=held,
            processor_seconds={name: used - before[name] for name, used in after.items()},
        )

    def measure_recovery(self, backlog: int) -> RecoveryRun:
        """Repair an endpoint with a backlog."""
        engine = self._engine
        engine.start_run(self._returning, full_speed_paths="%/healthy/%")
        engine.receiver.set_behaviour("/returning/", ALWAYS_500)
        [endpoint] = engine.get("/v1/endpoints", key=self._returning)["items"]
        for _ in range(0, backlog, BATCH):
            events = [{"type": "order.e0", "data": {"filler": "x" * PAYLOAD_BYTES}}] * BATCH
            engine.post("/v1/events/batch", {"events": events}, key=self._returning)
        wait_until(self._is_open, "the breaker to open", seconds=TIMEOUT_SECONDS)
        engine.post(f"/v1/endpoints/{endpoint['id']}/disable", {"reason": "broken"}, key=self._returning)
        engine.receiver.set_behaviour("/returning/", HEALTHY_BEHAVIOUR)
        engine.receiver.reset_stats()
        engine.post(f"/v1/endpoints/{endpoint['id']}/enable", {"reason": "repaired"}, key=self._returning)
        engine.wait_until_delivered("/returning/")
        [received] = engine.receiver.read_stats("/returning/", ids=True).values()
        engine.kill_workers()
        took = "select extract(epoch from max(finished_at) - min(finished_at)) from deliveries"
        if len(received.times) != backlog:
            raise RuntimeError(f"{len(received.times)} of {backlog} events arrived.")
        return RecoveryRun(
            float(engine.database.fetch_row(took)[0]), received.most, received.requests - len(received.times)
        )

    def _behave_badly(self) -> None:
        for kind, (_, behaviour) in BAD_ENDPOINTS.items():
            self._engine.receiver.set_behaviour(f"/{kind}/", behaviour)

    def _is_open(self) -> bool:
        return bool(
            self._engine.database.fetch_row(
                "select exists (select from endpoint_health where breaker = 'open')"
            )[0]
        )


def list_bad_paths() -> list[str]:
    """A path for each bad endpoint."""
    return [f"/{kind}/{number}" for kind, (count, _) in BAD_ENDPOINTS.items() for number in range(count)]


def summarize(
    alone: Sequence[IsolationRun], beside: Sequence[IsolationRun], back: RecoveryRun, backlog: int
) -> dict[str, float]:
    """The medians, and the medians of each pair's ratio."""
    pairs = list(zip(alone, beside, strict=True))
    found: dict[str, float] = {}
    for name, runs in (("alone", alone), ("beside_bad", beside)):
        found[f"per_second_{name}"] = round(statistics.median(run.per_second for run in runs), 1)
        found[f"p50_ms_{name}"] = round(statistics.median(run.p50_ms for run in runs), 1)
        found[f"p99_ms_{name}"] = round(statistics.median(run.p99_ms for run in runs), 1)
        found[f"late_p99_ms_{name}"] = round(statistics.median(run.late_p99_ms for run in runs), 1)
        found[f"refused_{name}"] = sum(run.refused for run in runs)
    found["throughput_ratio"] = round(statistics.median(b.per_second / a.per_second for a, b in pairs), 3)
    found["p99_ratio"] = round(statistics.median(b.p99_ms / a.p99_ms for a, b in pairs), 2)
    found["bad_requests"] = round(statistics.median(run.bad_requests for run in beside))
    found["held"] = round(statistics.median(run.held for run in beside))
    found["back_per_second"] = round(backlog / back.seconds)
    found["back_in_flight"] = back.max_in_flight
    found["back_twice"] = back.duplicates
    return found


def build_table(found: dict[str, float], title: str) -> Table:
    """The results of the healthy endpoints."""
    table = Table(title=title, title_justify="left")
    for heading in ("healthy endpoints", "alone", "with bad ones", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "healthy endpoints" else "right")
    for key, label, ratio, target in (
        ("per_second", "recorded successes/s", "throughput_ratio", f"≥ {TARGETS['throughput_ratio']}"),
        ("p50_ms", "accepted → recorded success, p50 ms", None, ""),
        ("p99_ms", "accepted → recorded success, p99 ms", "p99_ratio", f"≤ {TARGETS['p99_ratio']}"),
        ("late_p99_ms", "events posted late by, p99 ms", None, ""),
    ):
        values = [f"{found[f'{key}_{name}']:,.1f}" for name in ("alone", "beside_bad")]
        table.add_row(label, *values, "" if ratio is None else f"{found[ratio]}", target)
    return table


def build_processor_table(alone: IsolationRun, beside: IsolationRun) -> Table:
    """Processor time by process."""
    table = Table(title="Processor seconds of the last runs", title_justify="left")
    for heading in ("process", "alone", "with bad ones"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for name, used in sorted(alone.processor_seconds.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{used:.1f}", f"{beside.processor_seconds[name]:.1f}")
    return table


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; medians are shown")
    parser.add_argument("--seconds", type=float, default=20, help="duration of the stream")
    parser.add_argument("--rate", type=float, default=400, help="events per second in total")
    parser.add_argument(
        "--backlog", type=int, default=20_000, help="pending deliveries of the repaired endpoint"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, and print tables and a line of JSON."""
    arguments = _parse_arguments()
    console = Console()
    alone: list[IsolationRun] = []
    beside: list[IsolationRun] = []
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = IsolationBench(stack)
        for number in range(1, arguments.rounds + 1):
            for runs, beside_bad in ((alone, False), (beside, True)):
                where = "with bad ones" if beside_bad else "alone"
                status.update(f"Round {number}: fifty healthy endpoints {where} …")
                runs.append(bench.run(arguments.seconds, arguments.rate, beside_bad=beside_bad))
        status.update(f"An endpoint recovers with {arguments.backlog:,} deliveries …")
        back = bench.measure_recovery(arguments.backlog)
    found = summarize(alone, beside, back, arguments.backlog)
    console.print(build_table(found, f"{arguments.rate:.0f} events/s for {arguments.seconds:.0f} s"))
    console.print(build_processor_table(alone[-1], beside[-1]))
    console.print(
        f"The bad endpoints got {found['bad_requests']:,} requests; {found['held']:,} deliveries are held."
    )
    console.print(
        f"Recovery with a backlog of {arguments.backlog:,}: {found['back_per_second']:,} deliveries/s, "
        f"{back.max_in_flight} in flight at most, {back.duplicates} sent twice."
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
