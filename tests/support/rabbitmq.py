"""A RabbitMQ node of our own, from Debian's package: own name, ports, cookie and folder, loopback alone."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = Path(
    "/usr/lib/rabbitmq/lib"
)  # its scripts run as any user; Debian's wrapper in /usr/sbin does not
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
EPMD_NAMES = b"\x00\x01n"
STARTING_SECONDS = 120.0
STOPPING_SECONDS = 30.0

# No busy waiting: it would take the processor from what is measured. Distribution on loopback, as the rest.
ERLANG_ARGUMENTS = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQMissing(RuntimeError):
    def __init__(self) -> None:
        super().__init__(
            "RabbitMQ is not installed: run `make test` as root, or `apt-get install rabbitmq-server`, "
            "or point WAYBILL_AMQP_URL at a server that runs."
        )


def is_installed() -> bool:
    """Whether this machine can run a node."""
    return any(PACKAGES.glob("rabbitmq_server-*/sbin/rabbitmq-server"))


def find_scripts() -> Path:
    """The folder of the package's own scripts. Raises RabbitMQMissing."""
    if not is_installed():
        raise RabbitMQMissing
    return max(PACKAGES.glob("rabbitmq_server-*/sbin"))


class PrivateRabbitMQ:
    """One node and its epmd. `kill` and `restart` keep its folder, `stop` ends both and removes it."""

    def __init__(self) -> None:
        self._scripts = find_scripts()
        self.folder = Path(tempfile.mkdtemp(prefix="waybill-rabbitmq-"))
        self.port, self.distribution_port, self.epmd_port = _find_free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self._environment = self._own_environment()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> list[int]:
        """Of what runs: the Erlang machine itself (the scripts replace themselves with it) and its epmd."""
        return [running.pid for running in (self._node, self._epmd) if running is not None]

    def start(self) -> None:
        """Start what does not run, and return when AMQP is answered."""
        try:
            # An AMQP header must get a method frame: the port alone opens before the node is ready.
            self._wait_until(self.launch(), lambda: _read_first_byte(self.port, AMQP_HEADER) == b"\x01")
        except BaseException:
            self.stop()
            raise

    def launch(self) -> subprocess.Popen[bytes]:
        """Start what does not run, and do not wait for the node."""
        if self._epmd is None:
            self._epmd = self._spawn("epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1")
            self._wait_until(self._epmd, lambda: _read_first_byte(self.epmd_port, EPMD_NAMES) != b"")
        if self._node is None:
            self._node = self._spawn(str(self._scripts / "rabbitmq-server"))
        return self._node

    def kill(self) -> None:
        """Kill the node on the spot, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut the node down if it runs, and start it over the same folder."""
        self._end(signal.SIGTERM)
        self.start()

    @contextmanager
    def freeze(self) -> Iterator[None]:
        """Stand still: connections stay open and nothing is answered."""
        assert self._node is not None
        self._node.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._node.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the node and its epmd and remove the folder."""
        self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` answers. It starts an Erlang of its own: about half a second."""
        answer = subprocess.run(
            [self._scripts / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
        )
        if answer.returncode != 0:
            message = f"rabbitmqctl {' '.join(arguments)}: {answer.stderr or answer.stdout}"
            raise RuntimeError(message)
        return answer.stdout

    def list_queues(self) -> dict[str, int]:
        """Messages by queue, ready and unacknowledged. Quorum queues report late."""
        rows = json.loads(self.run_ctl("list_queues", "name", "messages", "--formatter", "json"))
        return {row["name"]: row["messages"] for row in rows}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _own_environment(self) -> dict[str, str]:
        """All that the node reads, so that nothing of a RabbitMQ on this machine has a say."""
        folder = self.folder
        (folder / ".erlang.cookie").write_text(secrets.token_hex(16))
        (folder / ".erlang.cookie").chmod(0o400)
        (folder / "enabled_plugins").write_text("[].\n")
        return {
            "PATH": f"{self._scripts}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "detached": "yes",  # the script then becomes the node, instead of watching over it
            "RABBITMQ_NODENAME": f"waybill-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            "ERL_AFLAGS": "-start_epmd false",  # it would be a daemon of its own, and outlive us
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
        }

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program that dies with us, and that Ctrl-C does not reach."""
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", *command],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end(self, how: signal.Signals) -> None:
        if self._node is None:
            return
        self._node.send_signal(how)
        try:
            self._node.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._node.kill()
            self._node.wait()
        self._node = None

    def _wait_until(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        patience = time.monotonic() + STARTING_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > patience:
                said = (self.folder / "output.log").read_text()
                message = f"The private RabbitMQ did not start:\n{said[-2000:]}"
                raise RuntimeError(message)
            time.sleep(0.02)


def _read_first_byte(port: int, question: bytes) -> bytes:
    """The first byte that the server on this port answers; none while there is no server."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(question)
            return connection.recv(1)
    except OSError:
        return b""


def _find_free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
