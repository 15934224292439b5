"""An engine that a benchmark runs: its processes, tenants, a receiver, and what its ledger says."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import psycopg

from tests.support.stack import OPERATOR_KEY, wait_until
from tests.support.troubled import HEALTHY, Troubled

if TYPE_CHECKING:
    from tests.support.stack import Stack

CONNECTIONS = 64
PATIENCE = 300
PAYLOAD_BYTES = 1_000
CREW = ("relay", "relay.2", "worker", "worker.2")

_NEW = """
    update endpoint_health
    set in_flight = 0, breaker = 'closed', breaker_since = now(), window_since = now(), consecutive = 0,
        requests = 0, failures = 0, earlier_requests = 0, earlier_failures = 0, openings = 0, probe_at = null,
        probe_id = null, limit_now = 10, limit_ramping = true, limit_credit = 0, limit_lowered_at = null,
        waits_until = null, failing_since = null, failed = 0, warned = 0
"""
# As after some time of good answers.
_AT_SPEED = """
    update endpoint_health set limit_now = 50, limit_ramping = false from endpoints
    where endpoints.id = endpoint_id and url like %s
"""
_OWED = """
    select exists (select from schedule join endpoints on endpoints.id = endpoint_id where url like %s)
"""


class Engine:
    """Two relays and two workers, started anew for each run, on one ledger; `web` and the receiver stay."""

    def __init__(self, stack: Stack, *, kinds: int) -> None:
        """Start the receiver and the API. Each of so many kinds of event has an endpoint."""
        stack.environment["WAYBILL_WORKER_PROCESSES"] = "1"
        self.stack = stack
        self.receiver = Troubled(stack)
        stack.serve("web")
        self.database = psycopg.connect(stack.database_url.replace("+psycopg", ""), autocommit=True)
        self._kinds = kinds

    def begin(self, key: str, *, at_speed: str) -> None:
        """Everybody up and warm, everything well, nothing owed. `at_speed` names the paths that are known."""
        self.receiver.behave("/", HEALTHY)
        self._clear(at_speed)
        self.stack.serve(*CREW)
        for _ in range(4):
            for kind in range(self._kinds):
                self.post("/v1/events", {"type": f"order.e{kind}", "data": {}}, key=key)
        self.wait_for("/")
        self._clear(at_speed)
        self.receiver.forget()

    def stop(self) -> None:
        """End relays and workers; what never answers would keep a worker waiting that is asked to end."""
        for name in CREW:
            self.stack.kill(name)

    def stream(self, key: str, seconds: float, rate: float) -> dict[str, Any]:
        """Post events of all kinds at a rate, whether or not they are answered in time."""
        said = self.stack.run(
            sys.executable, "-m", "benchmarks.stream", "127.0.0.1", str(self.stack.port), str(seconds),
            str(rate), str(CONNECTIONS), key, str(self._kinds), str(PAYLOAD_BYTES),
        )  # fmt: skip
        return dict(json.loads(said))

    def wait_for(self, path: str) -> None:
        """Wait until the endpoints of a path are owed nothing."""
        wait_until(lambda: not self.row(_OWED, f"%{path}%")[0], f"the deliveries to {path}", seconds=PATIENCE)

    def tenant(self, name: str) -> str:
        """A new tenant's key."""
        tenant = self.post("/v1/tenants", {"name": name})["id"]
        return str(self.post(f"/v1/tenants/{tenant}/keys", {"name": "bench"})["key"])

    def subscribe(self, key: str, path: str, kind: int) -> str:
        """An endpoint at a path for events of a kind; returns its id."""
        wanted = {"url": self.receiver.url(path), "filter": [f"order.e{kind}"]}
        return str(self.post("/v1/endpoints", wanted, key=key)["id"])

    def post(self, path: str, body: object, *, key: str = OPERATOR_KEY) -> Any:
        """Post to the API."""
        return self._ask(path, json.dumps(body).encode(), key)

    def get(self, path: str, *, key: str) -> Any:
        """Ask the API."""
        return self._ask(path, None, key)

    def row(self, question: str, *values: object) -> tuple[Any, ...]:
        """The only row that answers a question to the ledger."""
        row = self.database.execute(question, values or None).fetchone()
        if row is None:
            raise LookupError(question)
        return row

    def _clear(self, at_speed: str) -> None:
        self.database.execute(
            "truncate events, deliveries, attempts, schedule, claims, journal, failures, endpoint_sequence,"
            " replays, replay_items"
        )
        self.database.execute(_NEW)
        self.database.execute(_AT_SPEED, [at_speed])
        self.database.execute("vacuum analyze endpoint_health")

    def _ask(self, path: str, body: bytes | None, key: str) -> Any:
        request = Request(
            f"http://127.0.0.1:{self.stack.port}{path}",
            data=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:  # noqa: S310  our own server
            return json.load(answer)
