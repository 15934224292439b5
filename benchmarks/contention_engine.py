"""Two relays, two workers, and a receiver with misbehaving paths, for comparisons of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.engine import BenchEngine
from benchmarks.post_requests import PostRequest
from tests.support.misbehaving_receiver import HEALTHY, MisbehavingReceiver

if TYPE_CHECKING:
    from tests.support.stack import Stack

CONNECTIONS = 64
PAYLOAD_BYTES = 1_000
WORKER_PROCESSES = ("relay", "relay.2", "worker", "worker.2")
_WARM_UP = 4


class ContentionEngine(BenchEngine):
    """Relays and workers start for each run, on one ledger; `web` and the receiver keep running."""

    def __init__(self, stack: Stack, *, kinds: int) -> None:
        """Start the receiver and the API. Each of `kinds` kinds of event has an endpoint."""
        stack.environment["WAYBILL_WORKER_PROCESSES"] = "1"
        self.receiver = MisbehavingReceiver(stack)
        super().__init__(stack)
        self._kinds = kinds

    def start_run(self, key: str, *, full_speed_paths: str) -> None:
        """Start all processes, warm up, reset. The ramp of `full_speed_paths` is finished."""
        self.receiver.set_behaviour("/", HEALTHY)
        self.database.reset(full_speed_paths)
        self.stack.serve(*WORKER_PROCESSES)
        for _ in range(_WARM_UP):
            for kind in range(self._kinds):
                self.post("/v1/events", {"type": f"order.e{kind}", "data": {}}, key=key)
        self.wait_until_delivered()
        self.database.reset(full_speed_paths)
        self.receiver.reset_stats()

    def kill_workers(self) -> None:
        """Kill relays and workers; a normal stop would wait for receivers that never answer."""
        self.kill(WORKER_PROCESSES)

    def post_at_rate(self, key: str, seconds: float, rate: float) -> dict[str, Any]:
        """Post events of all kinds at a fixed rate; returns the client's counts."""
        posts = [PostRequest(key, [f"order.e{kind}"], PAYLOAD_BYTES) for kind in range(self._kinds)]
        counts, _ = self.run_open_loop(posts, seconds, rate, CONNECTIONS)
        return counts

    def create_endpoint(self, key: str, path: str, kind: int) -> str:
        """Create an endpoint at a path for events of a kind; returns its id."""
        endpoint = {"url": self.receiver.get_url(path), "filter": [f"order.e{kind}"]}
        return str(self.post("/v1/endpoints", endpoint, key=key)["id"])
