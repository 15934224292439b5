"""How each figure is measured. Every rate comes from the ledger's own times, or from the clients'."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import psycopg

from signing import generate_hmac
from tests.support.stack import OPERATOR_KEY, free_port, wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

TENANTS, ENDPOINTS_EACH = 10, 5
PAYLOAD_BYTES = 1_000
BATCH = 500
PATIENCE = 300


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Single-event POSTs to recorded successes."""

    per_second: float
    accepted: int
    refused: int
    answer_p50_ms: float
    answer_p99_ms: float
    delivered_p50_ms: float
    delivered_p99_ms: float
    processor_us: dict[str, float]  # per event, by process


class Bench:
    """A stack with tenants, endpoints and a receiver, and the measurements on it."""

    def __init__(self, stack: Stack) -> None:
        """Start the receiver and the API, and create who owns what."""
        self._stack = stack
        self._receiver = free_port()
        stack.start("receiver", sys.executable, "-m", "benchmarks.receiver", str(self._receiver))
        stack.serve("web")
        self._keys = [self._tenant(number) for number in range(TENANTS)]
        self._database = psycopg.connect(stack.database_url.replace("+psycopg", ""), autocommit=True)

    def drain(self, deliveries: int) -> float:
        """Deliveries per second from a waiting backlog, with two worker processes."""
        self._clear()
        for number in range(deliveries // BATCH):
            events = [
                {"type": f"order.e{kind % ENDPOINTS_EACH}", "data": {"filler": "x" * PAYLOAD_BYTES}}
                for kind in range(BATCH)
            ]
            self._post("/v1/events/batch", {"events": events}, key=self._keys[number % TENANTS])
        self._stack.serve("relay", "worker")
        self._wait_for_all()
        self._stack.stop("relay", "worker")
        return self._rate(
            "select min(started_at), max(finished_at), count(*) from deliveries "
            "join attempts on attempts.delivery_id = deliveries.id"
        )

    def end_to_end(self, seconds: float, connections: int) -> EndToEnd:
        """Events per second from single POSTs to recorded success, everything running."""
        self._clear()
        self._stack.serve("relay", "worker")
        self._warm_up()
        before = self._stack.processor_seconds()
        keys = self._stack.folder / "keys"
        keys.write_text("\n".join(self._keys))
        said = self._stack.run(
            sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(self._stack.port), str(seconds),
            str(connections), str(keys), str(ENDPOINTS_EACH), str(PAYLOAD_BYTES),
        )  # fmt: skip
        load = json.loads(said)
        self._wait_for_all()
        used = {name: now - before[name] for name, now in self._stack.processor_seconds().items()}
        used["load generator"] = load["processor_seconds"]
        self._stack.stop("relay", "worker")
        rate = self._rate("select min(created_at), max(finished_at), count(*) from deliveries")
        p50, p99 = self._row(
            "select percentile_cont(0.5) within group (order by took), "
            "percentile_cont(0.99) within group (order by took) "
            "from (select extract(epoch from finished_at - created_at) * 1000 as took from deliveries) as d"
        )
        return EndToEnd(
            per_second=rate,
            accepted=load["accepted"],
            refused=load["refused"],
            answer_p50_ms=load["p50_ms"],
            answer_p99_ms=load["p99_ms"],
            delivered_p50_ms=float(p50),
            delivered_p99_ms=float(p99),
            processor_us={name: seconds / load["accepted"] * 1e6 for name, seconds in used.items()},
        )

    def naive(self, deliveries: int) -> float:
        """Deliveries per second of the naive baseline, from a waiting backlog, with two worker processes."""
        from benchmarks import naive  # noqa: PLC0415  it connects as the stack's environment says

        secret = generate_hmac(b"s" * 32).reveal()
        body = json.dumps({"type": "order.e0", "data": {"filler": "x" * PAYLOAD_BYTES}}).encode()
        url = f"http://127.0.0.1:{self._receiver}/hook"
        self._database.execute(naive.TABLES)
        with self._database.cursor() as cursor:
            cursor.executemany(
                "insert into naive_deliveries (id, url, secret, body) values (%s, %s, %s, %s)",
                [(number, url, secret, body) for number in range(deliveries)],
            )
        for number in range(deliveries):
            naive.deliver.send(number)
        dramatiq_ = str(Path(sys.executable).with_name("dramatiq"))
        self._stack.start(
            "naive",
            dramatiq_,
            "benchmarks.naive",
            "--processes",
            "2",
            "--threads",
            "8",
            "--queues",
            naive.QUEUE,
        )
        wait_until(
            lambda: self._row("select count(*) from naive_deliveries where status = 'pending'")[0] == 0,
            "the naive baseline", seconds=PATIENCE,
        )  # fmt: skip
        rate = self._rate(
            "select min(at), max(finished_at), count(*) from naive_deliveries "
            "join naive_attempts on delivery_id = naive_deliveries.id"
        )
        self._stack.stop("naive")
        return rate

    def _tenant(self, number: int) -> str:
        tenant = self._post("/v1/tenants", {"name": f"tenant {number}"})["id"]
        key: str = self._post(f"/v1/tenants/{tenant}/keys", {"name": "bench"})["key"]
        for kind in range(ENDPOINTS_EACH):
            url = f"http://127.0.0.1:{self._receiver}/hooks/{number}/{kind}"
            self._post("/v1/endpoints", {"url": url, "filter": [f"order.e{kind}"]}, key=key)
        return key

    def _post(self, path: str, body: object, *, key: str = OPERATOR_KEY) -> dict[str, str]:
        request = Request(
            f"http://127.0.0.1:{self._stack.port}{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:  # noqa: S310  same
            answered: dict[str, str] = json.load(answer)
        return answered

    def _warm_up(self) -> None:
        """Wait until relay and workers have delivered one event of each tenant, then forget them."""
        for key in self._keys:
            for kind in range(ENDPOINTS_EACH):
                self._post("/v1/events", {"type": f"order.e{kind}", "data": {}}, key=key)
        self._wait_for_all()
        self._clear()

    def _wait_for_all(self) -> None:
        wait_until(
            lambda: not self._row("select exists (select from schedule)")[0], "the backlog", seconds=PATIENCE
        )

    def _clear(self) -> None:
        self._database.execute("truncate events, deliveries, attempts, schedule, claims")

    def _rate(self, question: str) -> float:
        first, last, count = self._row(question)
        return float(count / (last - first).total_seconds())

    def _row(self, question: str) -> tuple[Any, ...]:
        row = self._database.execute(question).fetchone()
        if row is None:
            raise LookupError(question)
        return row
