"""Pages of the console in a ledger with millions of deliveries, with random values.

A signed-in client requests them from a `web` process over a socket.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from delivery.domain.ids import Prefix, format_id
from tests.support.postgres import connect
from tests.support.stack import WAYBILL, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from benchmarks.searches import SearchValues

PASSWORD = "a password for benchmarks only"  # noqa: S105  of an account on a private database
EMAIL = "bench@example.com"
OK = 200


@dataclass(frozen=True, slots=True)
class PageMeasure:
    """A kind of page, and how to draw a path of it."""

    name: str
    path: Callable[[PageValues], str]


@dataclass(frozen=True, slots=True)
class PageTimes:
    """Durations in milliseconds and sizes in bytes of one kind of page."""

    milliseconds: list[float]
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class PageValues:
    """Draws the ids in paths."""

    values: SearchValues
    deliveries: Sequence[UUID]
    attempts: Sequence[UUID]

    @property
    def tenant(self) -> str:
        """Draw a tenant."""
        return format_id(Prefix.TENANT, self.values.draw_tenant())

    @property
    def endpoint(self) -> str:
        """Draw an endpoint."""
        return format_id(Prefix.ENDPOINT, self.values.draw_endpoint()[1])

    @property
    def event(self) -> str:
        """Draw an event."""
        return format_id(Prefix.EVENT, self.values.draw_event()[1])

    @property
    def delivery(self) -> str:
        """Draw a delivery."""
        return format_id(Prefix.DELIVERY, self.values.choose(self.deliveries))

    @property
    def attempt(self) -> str:
        """Draw an attempt."""
        return format_id(Prefix.ATTEMPT, self.values.choose(self.attempts))


def load_page_values(url: str, values: SearchValues) -> PageValues:
    """Sample deliveries and attempts."""
    with connect(url) as database:
        found = [
            [row[0] for row in database.execute(sample)]
            for sample in (
                b"select id from deliveries tablesample bernoulli (0.1)",
                b"select id from attempts tablesample bernoulli (0.1)",
            )
        ]
    return PageValues(values, *found)


class SignedInClient:
    """A signed-in client that requests pages over one connection."""

    def __init__(self, port: int) -> None:
        """Sign in."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        form = urlencode({"email": EMAIL, "password": PASSWORD})
        self._connection.request(
            "POST", "/console/sign-in", form, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        answer = self._connection.getresponse()
        answer.read()
        self._cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]

    def get(self, path: str) -> bytes:
        """Fetch a page; raises RuntimeError for any status but 200."""
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != OK:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return content


@contextmanager
def serve_console(url: str) -> Iterator[SignedInClient]:
    """Serve the console on this database, with an account for the client."""
    with tempfile.TemporaryDirectory() as folder:
        # Pages need no queue.
        stack = Stack(Path(folder), url, "amqp://nobody:nothing@127.0.0.1:9/%2F")
        try:
            stack.run(
                str(WAYBILL), "person", "create", EMAIL, "Bench", "--role", "admin", "--password-stdin",
                stdin=PASSWORD,
            )  # fmt: skip
            stack.serve("web")
            yield SignedInClient(stack.port)
        except RuntimeError:
            print(stack.read_log("web")[-9_000:])
            raise
        finally:
            stack.stop()


def measure_pages(
    browser: SignedInClient, kinds: Sequence[PageMeasure], drawn: PageValues, *, rounds: int, warm_up: int
) -> dict[PageMeasure, PageTimes]:
    """Fetch every kind of page once a round, after some warm-up rounds."""
    times = {kind: PageTimes([], []) for kind in kinds}
    for number in range(warm_up + rounds):
        for kind in kinds:
            path = kind.path(drawn)
            began = time.perf_counter()
            content = browser.get(path)
            took = (time.perf_counter() - began) * 1000
            if number >= warm_up:
                times[kind].milliseconds.append(took)
                times[kind].sizes.append(len(content))
    return times


PAGES = (
    PageMeasure("overview, hour", lambda _: "/console"),
    PageMeasure("overview, day", lambda _: "/console?span=day"),
    PageMeasure("overview, week", lambda _: "/console?span=week"),
    PageMeasure("overview of a tenant, day", lambda drawn: f"/console?span=day&tenant={drawn.tenant}"),
    PageMeasure("deliveries", lambda _: "/console/deliveries"),
    PageMeasure("deliveries of a tenant", lambda drawn: f"/console/deliveries?tenant={drawn.tenant}"),
    PageMeasure("deliveries, failed", lambda _: "/console/deliveries?status=failed"),
    PageMeasure("deliveries, pending", lambda _: "/console/deliveries?status=pending"),
    PageMeasure("deliveries of an endpoint", lambda drawn: f"/console/deliveries?endpoint={drawn.endpoint}"),
    PageMeasure("deliveries of an event", lambda drawn: f"/console/deliveries?event={drawn.event}"),
    PageMeasure("delivery", lambda drawn: f"/console/deliveries/{drawn.delivery}"),
    PageMeasure("attempt", lambda drawn: f"/console/attempts/{drawn.attempt}"),
    PageMeasure("event", lambda drawn: f"/console/events/{drawn.event}"),
    PageMeasure("endpoints", lambda _: "/console/endpoints"),
    PageMeasure("endpoints in trouble", lambda _: "/console/endpoints?trouble=1"),
    PageMeasure("endpoints of a tenant", lambda drawn: f"/console/endpoints?tenant={drawn.tenant}"),
    PageMeasure("endpoint, hour", lambda drawn: f"/console/endpoints/{drawn.endpoint}"),
    PageMeasure("endpoint, week", lambda drawn: f"/console/endpoints/{drawn.endpoint}?span=week"),
    PageMeasure("replays", lambda _: "/console/replays"),
    PageMeasure("event types", lambda _: "/console/types"),
    PageMeasure("event types of a tenant", lambda drawn: f"/console/types?tenant={drawn.tenant}"),
    PageMeasure("audit", lambda _: "/console/audit"),
    PageMeasure("audit of a tenant", lambda drawn: f"/console/audit?tenant={drawn.tenant}"),
    PageMeasure("tenants", lambda _: "/console/tenants"),
    PageMeasure("tenant", lambda drawn: f"/console/tenants/{drawn.tenant}"),
    PageMeasure("people", lambda _: "/console/people"),
)
