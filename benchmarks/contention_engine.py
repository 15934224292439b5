"""Two relays and two workers, and a receiver whose paths may be in trouble: for what compares streams."""

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
    """Started anew for each run, on one ledger; `web` and the receiver stay."""

    def __init__(self, stack: Stack, *, kinds: int) -> None:
        """Start the receiver and the API. Each of so many kinds of event has an endpoint."""
        stack.environment["WAYBILL_WORKER_PROCESSES"] = "1"
        self.receiver = MisbehavingReceiver(stack)
        super().__init__(stack)
        self._kinds = kinds

    def start_run(self, key: str, *, full_speed_paths: str) -> None:
        """Everybody up and warm, everything well, nothing owed. `at_speed` names the paths that are known."""
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
        """End relays and workers; what never answers would keep a worker waiting that is asked to end."""
        self.kill(WORKER_PROCESSES)

    def post_at_rate(self, key: str, seconds: float, rate: float) -> dict[str, Any]:
        """Post events of all kinds at a rate, whether or not they are answered in time."""
        posts = [PostRequest(key, [f"order.e{kind}"], PAYLOAD_BYTES) for kind in range(self._kinds)]
        said, _ = self.run_open_loop(posts, seconds, rate, CONNECTIONS)
        return said

    def create_endpoint(self, key: str, path: str, kind: int) -> str:
        """An endpoint at a path for events of a kind; returns its id."""
        wanted = {"url": self.receiver.get_url(path), "filter": [f"order.e{kind}"]}
        return str(self.post("/v1/endpoints", wanted, key=key)["id"])
