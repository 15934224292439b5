"""Two relays and two workers, and a receiver whose paths may be in trouble: for what compares streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.engine import Engine
from benchmarks.posts import Post
from tests.support.troubled import HEALTHY, Troubled

if TYPE_CHECKING:
    from tests.support.stack import Stack

CONNECTIONS = 64
PAYLOAD_BYTES = 1_000
CREW = ("relay", "relay.2", "worker", "worker.2")
_WARM_UP = 4


class Crew(Engine):
    """Started anew for each run, on one ledger; `web` and the receiver stay."""

    def __init__(self, stack: Stack, *, kinds: int) -> None:
        """Start the receiver and the API. Each of so many kinds of event has an endpoint."""
        stack.environment["WAYBILL_WORKER_PROCESSES"] = "1"
        self.receiver = Troubled(stack)
        super().__init__(stack)
        self._kinds = kinds

    def begin(self, key: str, *, at_speed: str) -> None:
        """Everybody up and warm, everything well, nothing owed. `at_speed` names the paths that are known."""
        self.receiver.behave("/", HEALTHY)
        self.site.clear(at_speed)
        self.stack.serve(*CREW)
        for _ in range(_WARM_UP):
            for kind in range(self._kinds):
                self.post("/v1/events", {"type": f"order.e{kind}", "data": {}}, key=key)
        self.settled()
        self.site.clear(at_speed)
        self.receiver.forget()

    def stop(self) -> None:
        """End relays and workers; what never answers would keep a worker waiting that is asked to end."""
        self.kill(CREW)

    def flow(self, key: str, seconds: float, rate: float) -> dict[str, Any]:
        """Post events of all kinds at a rate, whether or not they are answered in time."""
        posts = [Post(key, [f"order.e{kind}"], PAYLOAD_BYTES) for kind in range(self._kinds)]
        said, _ = self.stream(posts, seconds, rate, CONNECTIONS)
        return said

    def subscribe(self, key: str, path: str, kind: int) -> str:
        """An endpoint at a path for events of a kind; returns its id."""
        wanted = {"url": self.receiver.url(path), "filter": [f"order.e{kind}"]}
        return str(self.post("/v1/endpoints", wanted, key=key)["id"])
