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
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import psycopg
from rich.console import Console
from rich.table import Table

from tests.support.stack import OPERATOR_KEY, running_servers, wait_until
from tests.support.troubled import ERROR, HEALTHY, NEVER, Manner, Troubled

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
PAYLOAD_BYTES = 1_000
CONNECTIONS = 64
PATIENCE = 300
BATCH = 1_000
TARGETS = {"throughput_ratio": 0.9, "p99_ratio": 2.0}
CREW = ("relay", "relay.2", "worker", "worker.2")

# As after some time of good answers; the bad ones begin as new endpoints do.
_AT_SPEED = """
    update endpoint_health set limit_now = 50, limit_ramping = false from endpoints
    where endpoints.id = endpoint_id and url like '%/healthy/%'
"""
_NEW = """
    update endpoint_health
    set in_flight = 0, breaker = 'closed', breaker_since = now(), window_since = now(), consecutive = 0,
        requests = 0, failures = 0, earlier_requests = 0, earlier_failures = 0, openings = 0, probe_at = null,
        probe_id = null, limit_now = 10, limit_ramping = true, limit_credit = 0, limit_lowered_at = null,
        waits_until = null, failing_since = null, failed = 0, warned = 0
"""
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
_OWED = """
    select exists (select from schedule join endpoints on endpoints.id = endpoint_id where url like %s)
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
    """A stack with two tenants, one of which has bad endpoints too."""

    def __init__(self, stack: Stack) -> None:
        """Start the receiver and the API, and create who owns what."""
        stack.environment["WAYBILL_WORKER_PROCESSES"] = "1"
        self._stack = stack
        self._receiver = Troubled(stack)
        stack.serve("web")
        self._database = psycopg.connect(stack.database_url.replace("+psycopg", ""), autocommit=True)
        self._alone, self._beside, self._returning = (self._tenant(name) for name in "abc")
        for key in (self._alone, self._beside):
            for kind in range(ENDPOINTS):
                self._subscribe(key, f"/healthy/{key[-8:]}/{kind}", kind)
        for number, path in enumerate(bad_paths()):
            self._subscribe(self._beside, path, number)
        self._subscribe(self._returning, "/returning/", 0)

    def run(self, seconds: float, rate: float, *, beside_bad: bool) -> Run:
        """Let the stream flow to the healthy endpoints, alone or beside the bad ones."""
        key = self._beside if beside_bad else self._alone
        self._start(key)
        self._behave_badly()
        before = self._stack.processor_seconds()
        said = json.loads(self._stack.run(
            sys.executable, "-m", "benchmarks.stream", "127.0.0.1", str(self._stack.port), str(seconds),
            str(rate), str(CONNECTIONS), key, str(ENDPOINTS), str(PAYLOAD_BYTES),
        ))  # fmt: skip
        self._wait_for("/healthy/")
        after = self._stack.processor_seconds()
        held = self._row("select count(*) from schedule")[0]
        seen = self._receiver.seen()
        self._stop()
        per_second, p50, p99, count = self._row(_FOUND)
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
        self._start(self._returning)
        self._receiver.behave("/returning/", ERROR)
        [endpoint] = self._get("/v1/endpoints", key=self._returning)["items"]
        for _ in range(0, backlog, BATCH):
            events = [{"type": "order.e0", "data": {"filler": "x" * PAYLOAD_BYTES}}] * BATCH
            self._post("/v1/events/batch", {"events": events}, key=self._returning)
        wait_until(self._is_open, "the breaker to open", seconds=PATIENCE)
        self._post(f"/v1/endpoints/{endpoint['id']}/disable", {"reason": "broken"}, key=self._returning)
        self._receiver.behave("/returning/", SEEN)
        self._receiver.forget()
        self._post(f"/v1/endpoints/{endpoint['id']}/enable", {"reason": "repaired"}, key=self._returning)
        self._wait_for("/returning/")
        [seen] = self._receiver.seen("/returning/", ids=True).values()
        self._stop()
        took = "select extract(epoch from max(finished_at) - min(finished_at)) from deliveries"
        if len(seen.times) != backlog:
            raise RuntimeError(f"{len(seen.times)} of {backlog} events arrived.")
        return Return(float(self._row(took)[0]), seen.most, seen.requests - len(seen.times))

    def _start(self, key: str) -> None:
        """Everybody up and warm, everything well, nothing owed."""
        self._receiver.behave("/", HEALTHY)
        self._clear()
        self._stack.serve(*CREW)
        for _ in range(4):
            for kind in range(ENDPOINTS):
                self._post("/v1/events", {"type": f"order.e{kind}", "data": {}}, key=key)
        self._wait_for("/")
        self._clear()
        self._receiver.forget()

    def _stop(self) -> None:
        # What never answers would keep a worker waiting that is asked to end.
        for name in CREW:
            self._stack.kill(name)

    def _behave_badly(self) -> None:
        for kind, (_, manner) in BAD.items():
            self._receiver.behave(f"/{kind}/", manner)

    def _clear(self) -> None:
        self._database.execute("truncate events, deliveries, attempts, schedule, claims, journal")
        self._database.execute(_NEW)
        self._database.execute(_AT_SPEED)
        self._database.execute("vacuum analyze endpoint_health")

    def _is_open(self) -> bool:
        return bool(self._row("select exists (select from endpoint_health where breaker = 'open')")[0])

    def _wait_for(self, path: str) -> None:
        """Wait until the endpoints of a path are owed nothing."""
        wait_until(
            lambda: not self._row(_OWED, f"%{path}%")[0], f"the deliveries to {path}", seconds=PATIENCE
        )

    def _tenant(self, name: str) -> str:
        tenant = self._post("/v1/tenants", {"name": name})["id"]
        key: str = self._post(f"/v1/tenants/{tenant}/keys", {"name": "bench"})["key"]
        return key

    def _subscribe(self, key: str, path: str, kind: int) -> None:
        wanted = {"url": self._receiver.url(path), "filter": [f"order.e{kind}"]}
        self._post("/v1/endpoints", wanted, key=key)

    def _post(self, path: str, body: object, *, key: str = OPERATOR_KEY) -> Any:
        return self._ask(path, json.dumps(body).encode(), key)

    def _get(self, path: str, *, key: str) -> Any:
        return self._ask(path, None, key)

    def _ask(self, path: str, body: bytes | None, key: str) -> Any:
        request = Request(
            f"http://127.0.0.1:{self._stack.port}{path}",
            data=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:  # noqa: S310  our own server
            return json.load(answer)

    def _row(self, question: str, *values: object) -> tuple[Any, ...]:
        row = self._database.execute(question, values or None).fetchone()
        if row is None:
            raise LookupError(question)
        return row


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
