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

from delivery.model import Prefix, show_id
from tests.support.postgres import connect
from tests.support.stack import WAYBILL, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from benchmarks.searches import Dice

PASSWORD = "a password for benchmarks only"  # noqa: S105  of an account on a private database
EMAIL = "bench@example.com"
OK = 200


@dataclass(frozen=True, slots=True)
class PageKind:
    """A kind of page, and the address of one that is drawn."""

    name: str
    path: Callable[[Drawn], str]


@dataclass(frozen=True, slots=True)
class Served:
    """How long one kind of page took, each time, in milliseconds, and how large it was, in bytes."""

    took: list[float]
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What addresses are made of."""

    dice: Dice
    deliveries: Sequence[UUID]
    attempts: Sequence[UUID]

    @property
    def tenant(self) -> str:
        """A tenant."""
        return show_id(Prefix.TENANT, self.dice.tenant())

    @property
    def endpoint(self) -> str:
        """An endpoint."""
        return show_id(Prefix.ENDPOINT, self.dice.endpoint()[1])

    @property
    def event(self) -> str:
        """An event."""
        return show_id(Prefix.EVENT, self.dice.event()[1])

    @property
    def delivery(self) -> str:
        """A delivery."""
        return show_id(Prefix.DELIVERY, self.dice.one_of(self.deliveries))

    @property
    def attempt(self) -> str:
        """An attempt."""
        return show_id(Prefix.ATTEMPT, self.dice.one_of(self.attempts))


def drawn(url: str, dice: Dice) -> Drawn:
    """Find some deliveries and attempts to look at."""
    with connect(url) as database:
        found = [
            [row[0] for row in database.execute(sample)]
            for sample in (
                b"select id from deliveries tablesample bernoulli (0.1)",
                b"select id from attempts tablesample bernoulli (0.1)",
            )
        ]
    return Drawn(dice, *found)


class Browser:
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
def signed_in(url: str) -> Iterator[Browser]:
    """Serve the console on this database, with an account to look at it."""
    with tempfile.TemporaryDirectory() as folder:
        # No queue is needed to look at pages.
        stack = Stack(Path(folder), url, "amqp://nobody:nothing@127.0.0.1:9/%2F")
        try:
            stack.run(
                str(WAYBILL), "person", "create", EMAIL, "Bench", "--role", "admin", "--password-stdin",
                given=PASSWORD,
            )  # fmt: skip
            stack.serve("web")
            yield Browser(stack.port)
        except RuntimeError:
            print(stack.log("web")[-9_000:])
            raise
        finally:
            stack.stop()


def measure(
    browser: Browser, kinds: Sequence[PageKind], drawn: Drawn, *, rounds: int, warm_up: int
) -> dict[PageKind, Served]:
    """Ask for every kind of page so often, in turn, after some rounds that do not count."""
    kept = {kind: Served([], []) for kind in kinds}
    for number in range(warm_up + rounds):
        for kind in kinds:
            path = kind.path(drawn)
            began = time.perf_counter()
            content = browser.get(path)
            took = (time.perf_counter() - began) * 1000
            if number >= warm_up:
                kept[kind].took.append(took)
                kept[kind].sizes.append(len(content))
    return kept


KINDS = (
    PageKind("overview, hour", lambda _: "/console"),
    PageKind("overview, day", lambda _: "/console?span=day"),
    PageKind("overview, week", lambda _: "/console?span=week"),
    PageKind("overview of a tenant, day", lambda some: f"/console?span=day&tenant={some.tenant}"),
    PageKind("deliveries", lambda _: "/console/deliveries"),
    PageKind("deliveries of a tenant", lambda some: f"/console/deliveries?tenant={some.tenant}"),
    PageKind("deliveries, failed", lambda _: "/console/deliveries?status=failed"),
    PageKind("deliveries, pending", lambda _: "/console/deliveries?status=pending"),
    PageKind("deliveries of an endpoint", lambda some: f"/console/deliveries?endpoint={some.endpoint}"),
    PageKind("deliveries of an event", lambda some: f"/console/deliveries?event={some.event}"),
    PageKind("delivery", lambda some: f"/console/deliveries/{some.delivery}"),
    PageKind("attempt", lambda some: f"/console/attempts/{some.attempt}"),
    PageKind("event", lambda some: f"/console/events/{some.event}"),
    PageKind("endpoints", lambda _: "/console/endpoints"),
    PageKind("endpoints in trouble", lambda _: "/console/endpoints?trouble=1"),
    PageKind("endpoints of a tenant", lambda some: f"/console/endpoints?tenant={some.tenant}"),
    PageKind("endpoint, hour", lambda some: f"/console/endpoints/{some.endpoint}"),
    PageKind("endpoint, week", lambda some: f"/console/endpoints/{some.endpoint}?span=week"),
    PageKind("replays", lambda _: "/console/replays"),
    PageKind("event types", lambda _: "/console/types"),
    PageKind("event types of a tenant", lambda some: f"/console/types?tenant={some.tenant}"),
    PageKind("audit", lambda _: "/console/audit"),
    PageKind("audit of a tenant", lambda some: f"/console/audit?tenant={some.tenant}"),
    PageKind("tenants", lambda _: "/console/tenants"),
    PageKind("tenant", lambda some: f"/console/tenants/{some.tenant}"),
    PageKind("people", lambda _: "/console/people"),
)
