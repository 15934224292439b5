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
from tests.support.stack import WAYBILL, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.searches import Dice

PASSWORD = "a password for benchmarks only"  # noqa: S105  of an account on a private database
EMAIL = "bench@example.com"
OK = 200


@dataclass(frozen=True, slots=True)
class PageKind:
    """A kind of page, and the address of one that is drawn."""

    name: str
    path: Callable[[Dice], str]


@dataclass(frozen=True, slots=True)
class Served:
    """How long one kind of page took, each time, in milliseconds, and how large it was, in bytes."""

    took: list[float]
    sizes: list[int]


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
        finally:
            stack.stop()


def measure(
    browser: Browser, kinds: Sequence[PageKind], dice: Dice, *, rounds: int, warm_up: int
) -> dict[PageKind, Served]:
    """Ask for every kind of page so often, in turn, after some rounds that do not count."""
    kept = {kind: Served([], []) for kind in kinds}
    for number in range(warm_up + rounds):
        for kind in kinds:
            path = kind.path(dice)
            began = time.perf_counter()
            content = browser.get(path)
            took = (time.perf_counter() - began) * 1000
            if number >= warm_up:
                kept[kind].took.append(took)
                kept[kind].sizes.append(len(content))
    return kept


def _tenant(dice: Dice) -> str:
    return show_id(Prefix.TENANT, dice.tenant())


def _endpoint(dice: Dice) -> str:
    return show_id(Prefix.ENDPOINT, dice.endpoint()[1])


def _event(dice: Dice) -> str:
    return show_id(Prefix.EVENT, dice.event()[1])


KINDS = (
    PageKind("overview, hour", lambda _: "/console"),
    PageKind("overview, day", lambda _: "/console?span=day"),
    PageKind("overview, week", lambda _: "/console?span=week"),
    PageKind("overview of a tenant, day", lambda dice: f"/console?span=day&tenant={_tenant(dice)}"),
    PageKind("deliveries", lambda _: "/console/deliveries"),
    PageKind("deliveries of a tenant", lambda dice: f"/console/deliveries?tenant={_tenant(dice)}"),
    PageKind("deliveries, failed", lambda _: "/console/deliveries?status=failed"),
    PageKind("deliveries, pending", lambda _: "/console/deliveries?status=pending"),
    PageKind("deliveries of an endpoint", lambda dice: f"/console/deliveries?endpoint={_endpoint(dice)}"),
    PageKind("deliveries of an event", lambda dice: f"/console/deliveries?event={_event(dice)}"),
    PageKind("event", lambda dice: f"/console/events/{_event(dice)}"),
    PageKind("endpoints", lambda _: "/console/endpoints"),
    PageKind("endpoints of a tenant", lambda dice: f"/console/endpoints?tenant={_tenant(dice)}"),
    PageKind("endpoint, hour", lambda dice: f"/console/endpoints/{_endpoint(dice)}"),
    PageKind("endpoint, week", lambda dice: f"/console/endpoints/{_endpoint(dice)}?span=week"),
    PageKind("replays", lambda _: "/console/replays"),
    PageKind("event types", lambda _: "/console/types"),
    PageKind("event types of a tenant", lambda dice: f"/console/types?tenant={_tenant(dice)}"),
    PageKind("audit", lambda _: "/console/audit"),
    PageKind("audit of a tenant", lambda dice: f"/console/audit?tenant={_tenant(dice)}"),
    PageKind("tenants", lambda _: "/console/tenants"),
    PageKind("tenant", lambda dice: f"/console/tenants/{_tenant(dice)}"),
    PageKind("people", lambda _: "/console/people"),
)
