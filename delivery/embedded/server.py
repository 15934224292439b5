"""One server per folder: created on first use, restarted after any end, stopped with us.

The folder holds `cluster/` (PostgreSQL's files), `password`, `port`, `lock` and `server.log`. Only the first
two belong to the account that runs the server, so it cannot lay traps for us when we are root. It need not
have access to the folder: its programs are started inside `cluster/` and use it as `/proc/self/cwd`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from delivery.embedded.account import CLEAN_ENVIRONMENT, OsAccount, detect_account, find_programs
from delivery.embedded.errors import AlreadyRunning, DidNotStart, FolderUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

# For a copy of the wheel's programs, where only root can read the wheel.
PROGRAM_DIR = Path("/var/lib/waybill")
CURRENT_DIR = "/proc/self/cwd"
DATABASE_NAME = "waybill"  # of the role and of the database

SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # TCP is enough, and a socket's path has a length limit
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
NON_DURABLE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

LOCK_TIMEOUT_SECONDS = 10.0  # for the children of a killed server, or for one that is stopping
START_TIMEOUT_SECONDS = 120.0  # recovery after a crash replays up to max_wal_size
STOP_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server. It ends with `stop()`, with its `with` block, or with the thread that started it."""

    folder: Path
    port: int
    url: str = field(repr=False)  # SQLAlchemy's form; it holds the password
    _server: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._server.pid

    def stop(self) -> None:
        """Stop the server: close connections, flush to disk, and return when it has ended."""
        # Fast shutdown; then immediate, with recovery at the next start; then by force.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self._server.send_signal(number)
            try:
                self._server.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    folder: Path, *, port: int | None = None, durable: bool = True, program_dir: Path = PROGRAM_DIR
) -> EmbeddedPostgres:
    """Start the server of this folder, created on first use, and return once it accepts connections.

    Without a port, the last one is used again if it is free. Without `durable` it is faster, but a crash of
    the machine may destroy the cluster: for tests.

    Raises WheelMissing, AlreadyRunning, FolderUnusable, DidNotStart.
    """
    if threading.current_thread() is not threading.main_thread():
        # The kernel ends the server with the thread that started it, not with the process.
        message = "Start the embedded PostgreSQL from the main thread."
        raise RuntimeError(message)
    account = detect_account()
    programs = find_programs(account, program_dir)
    home = _prepare_folder(folder)
    with _hold_lock(home) as lock:
        if not (home / "cluster").exists():
            _make_cluster(home, account, programs, durable=durable)
        # We hold the lock, so this is a dead server's; PostgreSQL would believe a process id that was reused.
        (home / "cluster" / "postmaster.pid").unlink(missing_ok=True)
        chosen = _choose_port(home, port)
        settings = SERVER_SETTINGS | {"port": str(chosen)} | ({} if durable else NON_DURABLE_SETTINGS)
        server = _launch_server(
            home, account.build_command(*_build_command(programs, settings), die_with_parent=True), lock
        )
    password = (home / "password").read_text()
    url = f"postgresql+psycopg://{DATABASE_NAME}:{password}@127.0.0.1:{chosen}/{DATABASE_NAME}"
    return EmbeddedPostgres(home, chosen, url, server)


def _prepare_folder(folder: Path) -> Path:
    """Create the folder. The server's account may pass through it, but not list it."""
    home = folder.resolve()
    home.mkdir(parents=True, exist_ok=True)
    if home.stat().st_uid != os.geteuid():
        raise FolderUnusable(home, f"it belongs to user id {home.stat().st_uid}, and we are {os.geteuid()}")
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return home


@contextmanager
def _hold_lock(home: Path) -> Iterator[int]:
    """Hold the folder's lock. The server inherits it: it is free when its last process has ended."""
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while not _try_lock(lock):
            if _find_postmaster(home) is not None or time.monotonic() > deadline:
                raise AlreadyRunning(home, _find_postmaster(home))
            time.sleep(0.05)
        if _find_postmaster(home) is not None:  # somebody started it by hand, without the lock
            raise AlreadyRunning(home, _find_postmaster(home))
        yield lock
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_state(home: Path) -> tuple[int, str] | None:
    """Process id and state, from the file that PostgreSQL writes for pg_ctl; None unless it is complete."""
    try:
        lines = (home / "cluster" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    return (int(lines[0]), lines[7].strip()) if len(lines) == 8 else None  # noqa: PLR2004  miscadmin.h, LOCK_FILE_LINE_…


def _find_postmaster(home: Path) -> int | None:
    """The id of the server that runs in this folder; a process that reused a dead server's id is not one."""
    match _read_state(home):
        case (pid, state) if state != "stopping":
            try:
                return pid if Path(f"/proc/{pid}/cwd").readlink() == home / "cluster" else None
            except OSError:  # gone, or somebody else's
                return None
        case _:
            return None


def _make_cluster(home: Path, account: OsAccount, programs: Path, *, durable: bool) -> None:
    """Create the cluster and its database; it gets its final name last, so a half-made one is never used."""
    unfinished, password = home / "unfinished", home / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_hex(24))
    account.change_owner(unfinished)
    account.change_owner(password)
    # Other users of the machine can reach the port, so the password is asked for on loopback too.
    options = [
        "-U",
        DATABASE_NAME,
        "-A",
        "scram-sha-256",
        "--pwfile=../password",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    sync = [] if durable else ["--no-sync"]
    made = account.run_program(programs / "initdb", "-D", CURRENT_DIR, *options, *sync, cwd=unfinished)
    if made.returncode != 0:
        raise DidNotStart("initdb", made.stdout)
    alone = ["--single", "-D", CURRENT_DIR, "-c", "exit_on_error=on", "postgres"]
    made = account.run_program(
        programs / "postgres", *alone, stdin=f"create database {DATABASE_NAME}\n", cwd=unfinished
    )
    if made.returncode != 0:
        raise DidNotStart("postgres", made.stdout)
    unfinished.rename(home / "cluster")


def _choose_port(home: Path, wanted: int | None) -> int:
    """The requested port; else the last one if it is free; else any. The file `port` stores it."""
    record = home / "port"
    last = record.read_text() if record.exists() else ""
    port = wanted or _find_free_port(int(last) if last.isdigit() else 0) or _find_free_port(0)
    record.write_text(str(port))
    return port


def _find_free_port(port: int) -> int:
    """The port, or any for 0; returns 0 if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _build_command(programs: Path, settings: dict[str, str]) -> list[str | Path]:
    options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    return [programs / "postgres", "-D", CURRENT_DIR, *options]


def _launch_server(home: Path, command: list[str], lock: int) -> subprocess.Popen[bytes]:
    """Start the server as our own child (pg_ctl would hand it to init) and wait until it is ready."""
    log = home / "server.log"
    if log.exists():
        log.rename(home / "server.log.1")
    log.touch(mode=0o600)
    with log.open("wb") as written:
        server = subprocess.Popen(  # noqa: S603  the wheel's program, our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            env=CLEAN_ENVIRONMENT,
            cwd=home / "cluster",
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for us, and we stop it last
        )
    try:
        _await_ready(home, server, log)
    except BaseException:
        server.send_signal(signal.SIGQUIT)
        server.wait()
        raise
    return server


def _await_ready(home: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while _read_state(home) != (server.pid, "ready"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise DidNotStart("postgres", log.read_text())
        time.sleep(0.01)
