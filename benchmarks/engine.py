"""The engine that a benchmark runs: its processes, its API and its database."""

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
# Accepted and not yet delivered events under load: a few seconds of work.
MAX_UNDELIVERED = 10_000
HOST = "127.0.0.1"
_GRACE_SECONDS = 60.0


class ProcessDied(RuntimeError):
    """A process ended unexpectedly; its last log lines say why."""

    def __init__(self, name: str, log: str) -> None:
        """Keep the name, and the end of the log."""
        super().__init__(f"{name} ended by itself: {log[-1500:]}")


class BenchEngine:
    """Servers and processes of a stack. `web` keeps running; relay and workers start for each measurement."""

    def __init__(self, stack: Stack) -> None:
        """Start the API."""
        self.stack = stack
        self.database = self.open_database(stack.database_url)
        self.database.make_partitions()
        stack.serve("web")

    def open_database(self, url: str) -> BenchDatabase:
        """Open a migrated database, with secrets that the engine's processes can decrypt."""
        return BenchDatabase(url, self.stack.environment["WAYBILL_SECRET_KEYS"])

    def migrate(self, url: str) -> BenchDatabase:
        """Migrate an empty database and open it."""
        with self.override_settings(WAYBILL_DATABASE_URL=url):
            self.stack.run(str(WAYBILL), "db", "upgrade", timeout=TIMEOUT_SECONDS)
        site = self.open_database(url)
        site.make_partitions()
        return site

    @contextmanager
    def override_settings(self, **settings: str) -> Iterator[None]:
        """Start processes with these settings while the block runs."""
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
    def run_processes(self, *names: str, kill: bool = False) -> Iterator[None]:
        """Run relay and worker, or these processes; `kill` kills them at the end, as an error does."""
        names = names or DEFAULT_PROCESSES
        self.stack.serve(*names)
        try:
            yield
        except BaseException:
            self.kill(names)
            raise
        if kill:
            self.kill(names)
        else:
            self.stack.stop(*names)

    def kill(self, names: Sequence[str]) -> None:
        """Kill these processes, if they run."""
        for name in names:
            if name in self.stack.running:
                self.stack.kill(name)

    def recover(self) -> None:
        """Clean up after a failure: only `web` and the receiver run, and nothing is pending."""
        self.kill([name for name in self.stack.running if name not in ("web", "receiver")])
        self.restart_web()
        with suppress(Exception):
            self.database.connection.cancel()
        self.database.reconnect()
        self.database.reset()

    def restart_web(self) -> None:
        """Restart the API with the current settings."""
        self.kill(["web"])
        self.stack.serve("web")

    def wait_until(
        self, condition: Callable[[], bool], what: str, *, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Wait for a condition; raises TimeoutError, and ProcessDied if a process ends meanwhile."""

        def check() -> bool:
            for name in self.stack.list_crashed():
                raise ProcessDied(name, self.stack.read_log(name))
            return condition()

        wait_until(check, what, seconds=seconds)

    def wait_until_delivered(self, path: str = "", *, seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait until nothing is pending for endpoints with this in their URL; without it, for any."""
        self.wait_until(
            lambda: not self.database.has_pending(path), f"the deliveries to {path or 'all'}", seconds=seconds
        )

    def run_closed_loop(
        self, posts: Sequence[PostRequest], seconds: float, connections: int, receiver: int
    ) -> dict[str, Any]:
        """Post as fast as answers and deliveries allow; returns the client's counts."""
        plan = LoadPlan(HOST, self.stack.port, seconds, connections, posts)
        return self._run_client(
            "closed_loop_load", replace(plan, receiver=receiver, max_undelivered=MAX_UNDELIVERED)
        )

    def run_open_loop(
        self, posts: Sequence[PostRequest], seconds: float, rate: float, connections: int
    ) -> tuple[dict[str, Any], dict[str, int]]:
        """Post at a fixed rate; returns the client's counts, and when each event was answered (ns)."""
        answers = self.stack.folder / "answers.json"
        plan = LoadPlan(HOST, self.stack.port, seconds, connections, posts, rate, str(answers))
        counts = self._run_client("open_loop_load", plan)
        return counts, dict(json.loads(answers.read_text()))

    def create_tenant(self, name: str) -> str:
        """Create a tenant; returns an API key of it."""
        return self.create_key(self.post("/v1/tenants", {"name": name})["id"])

    def create_key(self, tenant: str) -> str:
        """Create an API key of a tenant."""
        return str(self.post(f"/v1/tenants/{tenant}/keys", {"name": "bench"})["key"])

    def post(self, path: str, body: object, *, key: str = OPERATOR_KEY) -> Any:
        """Send a POST to the API."""
        return self._request(path, json.dumps(body).encode(), key)

    def get(self, path: str, *, key: str) -> Any:
        """Send a GET to the API."""
        return self._request(path, None, key)

    def _run_client(self, name: str, plan: LoadPlan) -> dict[str, Any]:
        plan_file = self.stack.folder / f"{name}.json"
        plan.write(plan_file)
        output = self.stack.run(
            sys.executable, "-m", f"benchmarks.{name}", str(plan_file), timeout=plan.seconds + _GRACE_SECONDS
        )
        return dict(json.loads(output))

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
    """Raise TimeoutError in the block after these seconds. In the main thread only."""

    def raise_timeout(*_: object) -> None:
        raise TimeoutError(f"{what}: not finished after {seconds:.0f} s.")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
