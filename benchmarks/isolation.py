"""`python -m benchmarks.isolation`: what fifty healthy endpoints notice of sixteen bad ones beside them.

The same stream goes to the healthy endpoints twice: once they are alone, once five that never answer, five
that answer 500, five that ask to be left alone with 429, and one that takes 14 of its 15 seconds get as much
beside them, from the first moment of their trouble on. Turn by turn, several times, all in the same tenant.

Then the opposite: what an endpoint notices that comes back to a backlog.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.crew import PAYLOAD_BYTES, Crew
from benchmarks.engine import PATIENCE
from tests.support.stack import running_servers, wait_until
from tests.support.troubled import ERROR, NEVER, Manner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.stack import Stack

ENDPOINTS = 50
BAD = {
    "never": (5, NEVER),
    "error": (5, ERROR),
    "full": (5, Manner(429, retry_after=30)),
    "slow": (1, Manner(delay=14)),
}
# Long enough that several are seen at the same time.
SEEN = Manner(delay=0.03)
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
class Run:
    """What the healthy endpoints got, from accepted to recorded success, and what the bad ones cost."""

    per_second: float
    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    refused: int
    bad_requests: int
    held: int
    processor_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Return:
    """How an endpoint came back to its backlog."""

    seconds: float
    most: int
    twice: int


class Isolation:
    """Two tenants, one of which has bad endpoints too, and a third that comes back."""

    def __init__(self, stack: Stack) -> None:
        """Create who owns what."""
        self._engine = engine = Crew(stack, kinds=ENDPOINTS)
        self._alone, self._beside, self._returning = (engine.tenant(name) for name in "abc")
        for key in (self._alone, self._beside):
            for kind in range(ENDPOINTS):
                engine.subscribe(key, f"/healthy/{key[-8:]}/{kind}", kind)
        for number, path in enumerate(bad_paths()):
            engine.subscribe(self._beside, path, number)
        engine.subscribe(self._returning, "/returning/", 0)

    def run(self, seconds: float, rate: float, *, beside_bad: bool) -> Run:
        """Let the stream flow to the healthy endpoints, alone or beside the bad ones."""
        key = self._beside if beside_bad else self._alone
        self._engine.begin(key, at_speed="%/healthy/%")
        self._behave_badly()
        before = self._engine.stack.processor_seconds()
        said = self._engine.flow(key, seconds, rate)
        self._engine.settled("/healthy/")
        after = self._engine.stack.processor_seconds()
        held = self._engine.site.row("select count(*) from schedule")[0]
        seen = self._engine.receiver.seen()
        self._engine.stop()
        per_second, p50, p99, count = self._engine.site.row(_FOUND)
        if count != round(seconds * rate):
            raise RuntimeError(f"{count} of {seconds * rate:.0f} events arrived.")
        return Run(
            per_second=float(per_second),
            p50_ms=float(p50),
            p99_ms=float(p99),
            late_p99_ms=said["late_p99_ms"],
            refused=said["refused"],
            bad_requests=sum(one.requests for path, one in seen.items() if not path.startswith("/healthy")),
            held=held,
            processor_seconds={name: used - before[name] for name, used in after.items()},
        )

    def come_back(self, backlog: int) -> Return:
        """Repair one endpoint that is owed a backlog."""
        engine = self._engine
        engine.begin(self._returning, at_speed="%/healthy/%")
        engine.receiver.behave("/returning/", ERROR)
        [endpoint] = engine.get("/v1/endpoints", key=self._returning)["items"]
        for _ in range(0, backlog, BATCH):
            events = [{"type": "order.e0", "data": {"filler": "x" * PAYLOAD_BYTES}}] * BATCH
            engine.post("/v1/events/batch", {"events": events}, key=self._returning)
        wait_until(self._is_open, "the breaker to open", seconds=PATIENCE)
        engine.post(f"/v1/endpoints/{endpoint['id']}/disable", {"reason": "broken"}, key=self._returning)
        engine.receiver.behave("/returning/", SEEN)
        engine.receiver.forget()
        engine.post(f"/v1/endpoints/{endpoint['id']}/enable", {"reason": "repaired"}, key=self._returning)
        engine.settled("/returning/")
        [seen] = engine.receiver.seen("/returning/", ids=True).values()
        engine.stop()
        took = "select extract(epoch from max(finished_at) - min(finished_at)) from deliveries"
        if len(seen.times) != backlog:
            raise RuntimeError(f"{len(seen.times)} of {backlog} events arrived.")
        return Return(float(engine.site.row(took)[0]), seen.most, seen.requests - len(seen.times))

    def _behave_badly(self) -> None:
        for kind, (_, manner) in BAD.items():
            self._engine.receiver.behave(f"/{kind}/", manner)

    def _is_open(self) -> bool:
        return bool(
            self._engine.site.row("select exists (select from endpoint_health where breaker = 'open')")[0]
        )


def bad_paths() -> list[str]:
    """A path for each bad endpoint."""
    return [f"/{kind}/{number}" for kind, (count, _) in BAD.items() for number in range(count)]


def figures(alone: Sequence[Run], beside: Sequence[Run], back: Return, backlog: int) -> dict[str, float]:
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
    found["back_in_flight"] = back.most
    found["back_twice"] = back.twice
    return found


def table(found: dict[str, float], title: str) -> Table:
    """What the healthy endpoints noticed."""
    shown = Table(title=title, title_justify="left")
    for heading in ("healthy endpoints", "alone", "beside bad ones", "ratio", "target"):
        shown.add_column(heading, justify="left" if heading == "healthy endpoints" else "right")
    for key, label, ratio, target in (
        ("per_second", "recorded successes/s", "throughput_ratio", f"≥ {TARGETS['throughput_ratio']}"),
        ("p50_ms", "accepted → recorded success, p50 ms", None, ""),
        ("p99_ms", "accepted → recorded success, p99 ms", "p99_ratio", f"≤ {TARGETS['p99_ratio']}"),
        ("late_p99_ms", "events posted too late, p99 ms", None, ""),
    ):
        values = [f"{found[f'{key}_{name}']:,.1f}" for name in ("alone", "beside_bad")]
        shown.add_row(label, *values, "" if ratio is None else f"{found[ratio]}", target)
    return shown


def processor_table(alone: Run, beside: Run) -> Table:
    """Where the processor's time went."""
    shown = Table(title="Processor seconds of the last runs", title_justify="left")
    for heading in ("process", "alone", "beside bad ones"):
        shown.add_column(heading, justify="left" if heading == "process" else "right")
    for name, used in sorted(alone.processor_seconds.items(), key=lambda item: -item[1]):
        shown.add_row(name, f"{used:.1f}", f"{beside.processor_seconds[name]:.1f}")
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure; medians are shown")
    parser.add_argument("--seconds", type=float, default=20, help="how long the stream flows")
    parser.add_argument("--rate", type=float, default=400, help="events a second in all")
    parser.add_argument("--backlog", type=int, default=20_000, help="what a repaired endpoint is owed")
    return parser.parse_args()


def main() -> None:
    """Measure, print tables, and last of all one line of JSON."""
    arguments = _arguments()
    console = Console()
    alone: list[Run] = []
    beside: list[Run] = []
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, running_servers() as stack:
        bench = Isolation(stack)
        for number in range(1, arguments.rounds + 1):
            for runs, beside_bad in ((alone, False), (beside, True)):
                where = "beside bad ones" if beside_bad else "alone"
                status.update(f"Round {number}: fifty healthy endpoints, {where} …")
                runs.append(bench.run(arguments.seconds, arguments.rate, beside_bad=beside_bad))
        status.update(f"An endpoint comes back to {arguments.backlog:,} deliveries …")
        back = bench.come_back(arguments.backlog)
    found = figures(alone, beside, back, arguments.backlog)
    console.print(table(found, f"{arguments.rate:.0f} events/s for {arguments.seconds:.0f} s"))
    console.print(processor_table(alone[-1], beside[-1]))
    console.print(
        f"The bad ones got {found['bad_requests']:,} requests, and {found['held']:,} deliveries are held."
    )
    console.print(
        f"Back to a backlog of {arguments.backlog:,}: {found['back_per_second']:,} deliveries/s, "
        f"{back.most} in flight at most, {back.twice} sent twice."
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
