"""The engine as a user runs it: its own PostgreSQL and RabbitMQ, and the Procfile's processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from delivery import embedded
from delivery.domain.secret_box import generate_key
from tests.support.rabbitmq import PrivateRabbitMQ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
WAYBILL = Path(sys.executable).with_name("waybill")
OPERATOR_KEY = "wbo_benchmark_operator_key_of_no_secret"
_STOP_TIMEOUT_SECONDS = 40


class Stack:
    """Servers that run, and processes that are started and stopped by name."""

    def __init__(self, folder: Path, database_url: str, amqp_url: str) -> None:
        """Nothing of the engine runs yet."""
        self.folder = folder
        self.port = find_free_port()
        self.database_url = database_url
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")},
            "WAYBILL_DATABASE_URL": database_url,
            "WAYBILL_AMQP_URL": amqp_url,
            "WAYBILL_SECRET_KEYS": generate_key(),
            "WAYBILL_OPERATOR_KEY": OPERATOR_KEY,
            "WAYBILL_PORT": str(self.port),
            "WAYBILL_ALLOW_HTTP": "true",
            "WAYBILL_ALLOW_NETWORKS": "127.0.0.0/8",
            "WAYBILL_LOG_LEVEL": "warning",
        }
        # What one process has otherwise, by its name.
        self.process_environment: dict[str, dict[str, str]] = {}
        # The command `waybill` of a process that is not of this release, by its name.
        self.process_command: dict[str, tuple[str, ...]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.servers: dict[str, int] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a process; its output goes to a file of its name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment | self.process_environment.get(name, {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def serve(self, *names: str) -> None:
        """Start processes of the Procfile, and wait for `web` if it is one of them.

        A second one of a kind has a name of its own: `relay.2` is another relay beside `relay`.
        """
        for name in names:
            self.start(name, *self.get_command(name), "serve", name.partition(".")[0])
        if "web" in names:
            wait_until(lambda: is_ready(self.port), "web to be ready", seconds=90)

    def get_command(self, name: str) -> tuple[str, ...]:
        """The command `waybill` of a process."""
        return self.process_command.get(name, (str(WAYBILL),))

    def stop(self, *names: str) -> None:
        """Ask processes to end, as a process manager does: the whole group hears it."""
        stopping = [self._running.pop(name) for name in names or tuple(self._running)]
        for process in stopping:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in stopping:
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def kill(self, name: str) -> None:
        """Kill a process and every process it started, as a power cut would."""
        process = self._running.pop(name)
        alive = process.poll() is None
        for pid in (process.pid, *_descendants(process.pid)) if alive else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def find_process_name(self, pid: int) -> str:
        """The name of the process that is this one, or has started it; raises LookupError."""
        for name, process in self._running.items():
            if pid == process.pid or pid in _descendants(process.pid):
                return name
        raise LookupError(pid)

    def list_crashed(self) -> list[str]:
        """The processes that ended without being stopped."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def get_pid(self, name: str) -> int:
        """The process id of a process that runs; raises LookupError."""
        return self._running[name].pid

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the processes that were started and not stopped."""
        return tuple(self._running)

    def run(self, *command: str, stdin: str = "", timeout: float | None = None, name: str = "") -> str:
        """Run a command to its end, with this to read, as the process of that name; returns what it printed.

        Raises subprocess.TimeoutExpired when it takes longer than so many seconds.
        """
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | self.process_environment.get(name, {}),
            input=stdin,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
        ).stdout

    def processor_seconds(self) -> dict[str, float]:
        """How much processor time each process and server has used, its children's included."""
        pids = {name: process.pid for name, process in self._running.items()} | self.servers
        return {name: _processor_seconds(pid) for name, pid in pids.items()}

    def read_log(self, name: str) -> str:
        """Read a process's log."""
        return (self.folder / f"{name}.log").read_text()


_reserved_ports: set[int] = set()


@contextmanager
def run_servers() -> Iterator[Stack]:
    """A PostgreSQL, durable as in production, and a RabbitMQ; stopped and removed at the end."""
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="waybill-bench-")))
        folder.chmod(0o755)  # the database's account must reach its own folder below
        database = exits.enter_context(embedded.start(folder / "postgres"))
        broker = exits.enter_context(PrivateRabbitMQ())
        stack = Stack(folder, database.url, broker.url)
        stack.servers = {"postgresql": database.pid, "rabbitmq": broker.pids[0]}
        exits.callback(stack.stop)
        stack.run(str(WAYBILL), "db", "upgrade")
        yield stack


def find_free_port() -> int:
    """A free loopback port that was not returned before."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        if port not in _reserved_ports:  # the kernel may return an unused port twice
            _reserved_ports.add(port)
            return port


def is_listening(port: int) -> bool:
    """Whether a process listens on this loopback port."""
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], description: str, *, seconds: float) -> None:
    """Ask again and again until the answer is yes; TimeoutError says what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"Waited {seconds:.0f} s for {description}.")
        time.sleep(0.05)


def _processor_seconds(pid: int) -> float:
    total = 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def is_ready(port: int) -> bool:
    """Whether the `web` on this port says so."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False
