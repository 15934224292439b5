"""The metrics of this process, or of all processes of a worker, as Prometheus reads them.

A worker is several processes: each keeps its numbers in files of a folder that they share
(prometheus-client's multiprocess mode), and whichever of them has the port answers for all.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from delivery.metrics import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Door", "leave", "own", "page", "shared_folder", "show_relay"]

log = structlog.get_logger()

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "waybill-metrics-"
_OF_WORKER: Final = re.compile(rf"{_PREFIX}(\d+)-.+")
_OF_PROCESS: Final = re.compile(r"_(\d+)\.db\Z")
_TRY_AGAIN: Final = 2.0  # seconds
_OURS: Final = frozenset(family.name for metric in catalogue.ALL for family in metric.describe())
_OF_RELAY: Final = frozenset(family.name for metric in catalogue.OF_RELAY for family in metric.describe())


class _Shown:
    """Of a collector, what this process can know: how the ledger stands is a relay's to say."""

    relay = threading.Event()

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            for family in collector.collect():
                if family.name in _OURS and (family.name not in _OF_RELAY or self.relay.is_set()):
                    yield family


def own() -> Iterator[Metric]:
    """What this process itself has counted, and knows."""
    return _Shown(*catalogue.ALL).collect()


def show_relay() -> None:
    """Show from now on what a relay knows: there is one in this process."""
    _Shown.relay.set()


def page() -> bytes:
    """The metrics, in Prometheus' text format."""
    folder = os.environ.get(FOLDER)
    registry = CollectorRegistry()
    if folder:
        _forget_the_dead(Path(folder))
        registry.register(_Shown(MultiProcessCollector(None, path=folder)))  # type: ignore[no-untyped-call]
    else:
        registry.register(_Shown(*catalogue.ALL))
    return generate_latest(registry)


def shared_folder() -> str:
    """Make the folder that the processes of a worker share; those of workers that are gone are removed.

    It is named after the process that makes it, which becomes the worker's first.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        found = _OF_WORKER.fullmatch(left.name)
        if found is not None and left.stat().st_uid == os.getuid() and not _lives(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    # With a name that nobody else can have taken before.
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")


def leave() -> None:
    """This process ends, with its worker: it is alive no more, and the last one takes the folder along.

    What it counted stays for as long as siblings are asked: counters that fell would be read as a restart.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    path = Path(folder)
    for file in path.glob(f"gauge_live*_{os.getpid()}.db"):
        file.unlink(missing_ok=True)
    _forget_the_dead(path)
    if not any(path.glob("gauge_live*.db")):
        shutil.rmtree(path, ignore_errors=True)


def _forget_the_dead(folder: Path) -> None:
    """What is so of a process that has died is so no more; what it counted goes on to count."""
    for file in folder.glob("gauge_live*.db"):
        found = _OF_PROCESS.search(file.name)
        if found is not None and not _lives(int(found[1])):
            file.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Door:
    """Serves `/metrics` on a port of its own, on a thread beside whatever the process does.

    A port that is taken is tried again until it is free: another process of the same worker may have it, and
    may die.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing listens yet."""
        self._where = (host, port)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def open(self) -> None:
        """Listen, as soon as the port is free."""
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        host, port = self._where
        said = False
        while not self._over.is_set():
            try:
                server = _Server(host, port)
            except OSError as error:
                if not said:
                    # Of several processes of a worker all but one find it taken.
                    usual = error.errno == errno.EADDRINUSE and FOLDER in os.environ
                    level = logging.INFO if usual else logging.WARNING
                    log.log(level, "metrics.cannot_listen", host=host, port=port, why=error.strerror)
                    said = True
                self._over.wait(_TRY_AGAIN)
                continue
            log.info("metrics.listening", host=host, port=port)
            with server:
                while not self._over.is_set():
                    server.handle_request()
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    timeout = 0.5  # seconds until it looks whether it is over

    def __init__(self, host: str, port: int) -> None:
        """Listen there; raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Page)


class _Page(BaseHTTPRequestHandler):
    """Answers GET /metrics; anything else is not there."""

    server_version = "waybill"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        body = page()
        with suppress(OSError):  # who asked has gone
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: it is asked every few seconds."""
