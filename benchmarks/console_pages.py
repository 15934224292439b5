"""The console's pages among millions of deliveries: what each asks for, its values drawn by lot.

They are asked of a `web` process of the Procfile, over a socket, by somebody who has signed in.
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
    """A kind of page, and the address of one that is drawn."""

    name: str
    path: Callable[[PageValues], str]


@dataclass(frozen=True, slots=True)
class PageTimes:
    """How long one kind of page took, each time, in milliseconds, and how large it was, in bytes."""

    milliseconds: list[float]
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class PageValues:
    """What addresses are made of."""

    values: SearchValues
    deliveries: Sequence[UUID]
    attempts: Sequence[UUID]

    @property
    def tenant(self) -> str:
        """A tenant."""
        return format_id(Prefix.TENANT, self.values.draw_tenant())

    @property
    def endpoint(self) -> str:
        """An endpoint."""
        return format_id(Prefix.ENDPOINT, self.values.draw_endpoint()[1])

    @property
    def event(self) -> str:
        """An event."""
        return format_id(Prefix.EVENT, self.values.draw_event()[1])

    @property
    def delivery(self) -> str:
        """A delivery."""
        return format_id(Prefix.DELIVERY, self.values.choose(self.deliveries))

    @property
    def attempt(self) -> str:
        """An attempt."""
        return format_id(Prefix.ATTEMPT, self.values.choose(self.attempts))


def load_page_values(url: str, values: SearchValues) -> PageValues:
    """Find some deliveries and attempts to look at."""
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
    """Somebody who is signed in and asks for pages over one connection."""

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
        """A page; raises RuntimeError if it is not served."""
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != OK:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return content


@contextmanager
def serve_console(url: str) -> Iterator[SignedInClient]:
    """Serve the console on this database, with an account to look at it."""
    with tempfile.TemporaryDirectory() as folder:
        # No queue is needed to look at pages.
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
    """Ask for every kind of page so often, in turn, after some rounds that do not count."""
    kept = {kind: PageTimes([], []) for kind in kinds}
    for number in range(warm_up + rounds):
        for kind in kinds:
            path = kind.path(drawn)
            began = time.perf_counter()
            content = browser.get(path)
            took = (time.perf_counter() - began) * 1000
            if number >= warm_up:
                kept[kind].milliseconds.append(took)
                kept[kind].sizes.append(len(content))
    return kept


PAGES = (
    PageMeasure("overview, hour", lambda _: "/console"),
    PageMeasure("overview, day", lambda _: "/console?span=day"),
    PageMeasure("overview, week", lambda _: "/console?span=week"),
    PageMeasure("overview of a tenant, day", lambda some: f"/console?span=day&tenant={some.tenant}"),
    PageMeasure("deliveries", lambda _: "/console/deliveries"),
    PageMeasure("deliveries of a tenant", lambda some: f"/console/deliveries?tenant={some.tenant}"),
    PageMeasure("deliveries, failed", lambda _: "/console/deliveries?status=failed"),
    PageMeasure("deliveries, pending", lambda _: "/console/deliveries?status=pending"),
    PageMeasure("deliveries of an endpoint", lambda some: f"/console/deliveries?endpoint={some.endpoint}"),
    PageMeasure("deliveries of an event", lambda some: f"/console/deliveries?event={some.event}"),
    PageMeasure("delivery", lambda some: f"/console/deliveries/{some.delivery}"),
    PageMeasure("attempt", lambda some: f"/console/attempts/{some.attempt}"),
    PageMeasure("event", lambda some: f"/console/events/{some.event}"),
    PageMeasure("endpoints", lambda _: "/console/endpoints"),
    PageMeasure("endpoints in trouble", lambda _: "/console/endpoints?trouble=1"),
    PageMeasure("endpoints of a tenant", lambda some: f"/console/endpoints?tenant={some.tenant}"),
    PageMeasure("endpoint, hour", lambda some: f"/console/endpoints/{some.endpoint}"),
    PageMeasure("endpoint, week", lambda some: f"/console/endpoints/{some.endpoint}?span=week"),
    PageMeasure("replays", lambda _: "/console/replays"),
    PageMeasure("event types", lambda _: "/console/types"),
    PageMeasure("event types of a tenant", lambda some: f"/console/types?tenant={some.tenant}"),
    PageMeasure("audit", lambda _: "/console/audit"),
    PageMeasure("audit of a tenant", lambda some: f"/console/audit?tenant={some.tenant}"),
    PageMeasure("tenants", lambda _: "/console/tenants"),
    PageMeasure("tenant", lambda some: f"/console/tenants/{some.tenant}"),
    PageMeasure("people", lambda _: "/console/people"),
)
