"""An engine that a benchmark runs: its processes, its API, and the site whose ledger they work on."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from benchmarks.bench_database import BenchDatabase
from benchmarks.post_requests import LoadPlan
from tests.support.stack import OPERATOR_KEY, WAYBILL, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.post_requests import PostRequest
    from tests.support.stack import Stack

DEFAULT_PROCESSES = ("relay", "worker")
TIMEOUT_SECONDS = 300.0
# What may be accepted and not yet delivered under load: some seconds of it.
MAX_UNDELIVERED = 10_000
HOST = "127.0.0.1"
_GRACE_SECONDS = 60.0


class ProcessDied(RuntimeError):
    """A process ended though nobody stopped it; its last lines say why."""

    def __init__(self, name: str, log: str) -> None:
        """Keep which one, and the end of what it said."""
        super().__init__(f"{name} ended by itself: {log[-1500:]}")


class BenchEngine:
    """Servers and processes of a stack. `web` stays; who delivers is started for each measurement."""

    def __init__(self, stack: Stack) -> None:
        """Start the API."""
        self.stack = stack
        self.database = self.open_database(stack.database_url)
        self.database.make_partitions()
        stack.serve("web")

    def open_database(self, url: str) -> BenchDatabase:
        """A site on a migrated database, whose secrets the engine's processes can open."""
        return BenchDatabase(url, self.stack.environment["WAYBILL_SECRET_KEYS"])

    def migrate(self, url: str) -> BenchDatabase:
        """Bring an empty database to the newest schema; returns the site on it."""
        with self.override_settings(WAYBILL_DATABASE_URL=url):
            self.stack.run(str(WAYBILL), "db", "upgrade", timeout=TIMEOUT_SECONDS)
        site = self.open_database(url)
        site.make_partitions()
        return site

    @contextmanager
    def override_settings(self, **settings: str) -> Iterator[None]:
        """Let processes that are started meanwhile have these settings."""
        environment = self.stack.environment
        before = {name: environment.get(name) for name in settings}
        environment.update(settings)
        try:
            yield
        finally:
            for name, value in before.items():
                environment.pop(name)
                if value is not None:
                    environment[name] = value

    @contextmanager
    def run_processes(self, *crew: str, kill: bool = False) -> Iterator[None]:
        """Run relay and worker, or this crew; killed at the end when asked to or when something fails."""
        crew = crew or DEFAULT_PROCESSES
        self.stack.serve(*crew)
        try:
            yield
        except BaseException:
            self.kill(crew)
            raise
        if kill:
            self.kill(crew)
        else:
            self.stack.stop(*crew)

    def kill(self, names: Sequence[str]) -> None:
        """Kill those of these processes that run."""
        for name in names:
            if name in self.stack.running:
                self.stack.kill(name)

    def recover(self) -> None:
        """After a failure: only `web` and the receiver run, and nothing is owed."""
        self.kill([name for name in self.stack.running if name not in ("web", "receiver")])
        self.restart_web()
        with suppress(Exception):
            self.database.connection.cancel()
        self.database.reconnect()
        self.database.reset()

    def restart_web(self) -> None:
        """Start the API anew, with the settings of now."""
        self.kill(["web"])
        self.stack.serve("web")

    def wait_until(
        self, condition: Callable[[], bool], what: str, *, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Wait for this; raises TimeoutError, or Died when a process ends meanwhile."""

        def so() -> bool:
            for name in self.stack.list_crashed():
                raise ProcessDied(name, self.stack.read_log(name))
            return condition()

        wait_until(so, what, seconds=seconds)

    def wait_until_delivered(self, path: str = "", *, seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait until the endpoints with this in their URLs, or all of them, are owed nothing."""
        self.wait_until(
            lambda: not self.database.has_pending(path), f"the deliveries to {path or 'all'}", seconds=seconds
        )

    def run_closed_loop(
        self, posts: Sequence[PostRequest], seconds: float, connections: int, receiver: int
    ) -> dict[str, Any]:
        """Post as fast as it is answered and about as fast as it is delivered; what the client counted."""
        posting = LoadPlan(HOST, self.stack.port, seconds, connections, posts)
        return self._run_client(
            "closed_loop_load", replace(posting, receiver=receiver, max_undelivered=MAX_UNDELIVERED)
        )

    def run_open_loop(
        self, posts: Sequence[PostRequest], seconds: float, rate: float, connections: int
    ) -> tuple[dict[str, Any], dict[str, int]]:
        """Post at a rate; returns what the client counted, and when each event was answered (ns)."""
        answers = self.stack.folder / "answers.json"
        posting = LoadPlan(HOST, self.stack.port, seconds, connections, posts, rate, str(answers))
        said = self._run_client("open_loop_load", posting)
        return said, dict(json.loads(answers.read_text()))

    def create_tenant(self, name: str) -> str:
        """A new tenant's key."""
        return self.create_key(self.post("/v1/tenants", {"name": name})["id"])

    def create_key(self, tenant: str) -> str:
        """A new key of a tenant."""
        return str(self.post(f"/v1/tenants/{tenant}/keys", {"name": "bench"})["key"])

    def post(self, path: str, body: object, *, key: str = OPERATOR_KEY) -> Any:
        """Post to the API."""
        return self._request(path, json.dumps(body).encode(), key)

    def get(self, path: str, *, key: str) -> Any:
        """Ask the API."""
        return self._request(path, None, key)

    def _run_client(self, name: str, posting: LoadPlan) -> dict[str, Any]:
        asked = self.stack.folder / f"{name}.json"
        posting.write(asked)
        said = self.stack.run(
            sys.executable, "-m", f"benchmarks.{name}", str(asked), timeout=posting.seconds + _GRACE_SECONDS
        )
        return dict(json.loads(said))

    def _request(self, path: str, body: bytes | None, key: str) -> Any:
        request = Request(
            f"http://{HOST}:{self.stack.port}{path}",
            data=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:  # noqa: S310  our own server
            return json.load(answer)


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Break off with TimeoutError what takes longer than so many seconds. In the main thread only."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"{what}: not over after {seconds:.0f} s.")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
