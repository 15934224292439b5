"""Shared by the measurements: an engine, a fast receiver, ten tenants with fifty endpoints, and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench_database import PAYLOAD_BYTES
from benchmarks.engine import BenchEngine
from benchmarks.post_requests import PostRequest
from benchmarks.receiver_client import ReceiverClient

if TYPE_CHECKING:
    from rich.status import Status
    from rich.table import Table

    from tests.support.stack import Stack

TENANTS, ENDPOINTS_EACH = 10, 5
# Events that each endpoint gets before a measurement begins.
WARM_UP_EVENTS = 2
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class BenchSizes:
    """The sizes of the measurements."""

    seconds: float
    backlog: int
    naive: int = 3_000
    bodies: int = 10_000
    idle: int = 300
    fanned_out: int = 5
    connections: int = 48
    pairs: int = 2
    close_pairs: int = 6  # for a ratio near its target, so that noise averages out
    drained: int = 20_000
    waiting: int = 1_000_000
    history: int = 5_000_000
    noisy: int = 500_000
    stalled: int = 2_000

    @classmethod
    def short(cls) -> BenchSizes:
        """The short form, a few minutes."""
        return cls(seconds=20, backlog=50_000)

    @classmethod
    def full(cls) -> BenchSizes:
        """The full form."""
        return cls(seconds=60, backlog=200_000, naive=5_000)


class BenchSuite:
    """The engine and data that all measurements use, one after another."""

    def __init__(self, stack: Stack, sizes: BenchSizes, status: Status) -> None:
        """Start the receiver and the API, and create tenants and endpoints. `status` shows the progress."""
        self.sizes = sizes
        self.status = status
        self.tables: list[Table] = []  # printed after the figures
        self.engine = BenchEngine(stack)
        self.site = self.engine.database
        self.inbox = ReceiverClient(stack)
        self.endpoints = self.site.add_tenants(TENANTS, ENDPOINTS_EACH, self.get_hook_url)
        self.keys = [
            self.engine.create_key(endpoint.tenant_public_id) for endpoint in self.endpoints[::ENDPOINTS_EACH]
        ]
        self.singles = [
            PostRequest(key, [f"order.e{kind}"], PAYLOAD_BYTES)
            for key in self.keys
            for kind in range(ENDPOINTS_EACH)
        ]

    def get_hook_url(self, tenant: int, kind: int) -> str:
        """The URL of an endpoint that answers at once."""
        return self.inbox.get_url(f"/hooks/{tenant}/{kind}")

    def warm_up(self, posts: list[PostRequest] | None = None) -> None:
        """Send every endpoint a few events, then delete them. All endpoints are at full speed afterwards."""
        for _ in range(WARM_UP_EVENTS):
            for post in posts or self.singles:
                self.engine.post("/v1/events", {"type": post.types[0], "data": {}}, key=post.key)
        self.engine.wait_until_delivered("/hooks/")
        self.site.reset()
