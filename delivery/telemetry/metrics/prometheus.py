"""The metrics of this process, or of all processes of a worker, as Prometheus reads them.

The processes of a worker keep their metrics in files of a shared folder (prometheus-client's multiprocess
mode), and the one that has the port answers for all.
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

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from delivery.log import get_logger
from delivery.telemetry.metrics import instruments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

__all__ = [
    "CONTENT_TYPE_LATEST",
    "MetricsServer",
    "clean_up_process",
    "collect_process_metrics",
    "create_shared_folder",
    "enable_relay_metrics",
    "render_metrics",
]

log = get_logger()

MULTIPROC_DIR_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_FOLDER_PREFIX: Final = "waybill-metrics-"
_WORKER_FOLDER: Final = re.compile(rf"{_FOLDER_PREFIX}(\d+)-.+")
_PROCESS_FILE: Final = re.compile(r"_(\d+)\.db\Z")
_RETRY_SECONDS: Final = 2.0
_OWN_FAMILIES: Final = frozenset(
    family.name for metric in instruments.ALL_METRICS for family in metric.describe()
)
_RELAY_FAMILIES: Final = frozenset(
    family.name for metric in instruments.RELAY_METRICS for family in metric.describe()
)


class _FilteredCollector:
    """Filters a collector: only processes with a relay show the gauges of the ledger."""

    relay_enabled = threading.Event()

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            for family in collector.collect():
                if family.name in _OWN_FAMILIES and (
                    family.name not in _RELAY_FAMILIES or self.relay_enabled.is_set()
                ):
                    yield family


def collect_process_metrics() -> Iterator[Metric]:
    """The metrics of this process alone."""
    return _FilteredCollector(*instruments.ALL_METRICS).collect()


def enable_relay_metrics() -> None:
    """Show the gauges of a relay from now on, because this process has one."""
    _FilteredCollector.relay_enabled.set()


def render_metrics() -> bytes:
    """The metrics, in Prometheus' text format."""
    folder = os.environ.get(MULTIPROC_DIR_VARIABLE)
    registry = CollectorRegistry()
    if folder:
        _remove_dead_gauges(Path(folder))
        registry.register(_FilteredCollector(MultiProcessCollector(None, path=folder)))  # type: ignore[no-untyped-call]
    else:
        registry.register(_FilteredCollector(*instruments.ALL_METRICS))
    return generate_latest(registry)


def create_shared_folder() -> str:
    """Create the folder that the processes of a worker share, and remove those of dead workers.

    Its name holds the id of this process, which becomes the worker's first.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        found = _WORKER_FOLDER.fullmatch(folder.name)
        if found is not None and folder.stat().st_uid == os.getuid() and not _is_alive(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)
    # mkdtemp: a name that nobody can have taken before.
    return tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-")


def clean_up_process() -> None:
    """Remove this process's gauges when it ends; the last process of a worker removes the folder.

    Its counters stay while the worker runs: counters that fall would look like a restart.
    """
    folder = os.environ.get(MULTIPROC_DIR_VARIABLE)
    if not folder:
        return
    path = Path(folder)
    for file in path.glob(f"gauge_live*_{os.getpid()}.db"):
        file.unlink(missing_ok=True)
    _remove_dead_gauges(path)
    if not any(path.glob("gauge_live*.db")):
        shutil.rmtree(path, ignore_errors=True)


def _remove_dead_gauges(folder: Path) -> None:
    """Drop gauges of dead processes; keep their counters."""
    for file in folder.glob("gauge_live*.db"):
        found = _PROCESS_FILE.search(file.name)
        if found is not None and not _is_alive(int(found[1])):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class MetricsServer:
    """Serves `/metrics` on a port of its own, in a thread.

    If the port is taken, it tries again until it is free: another process of the same worker may have it, and
    may die.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing listens until `start`."""
        self._address = (host, port)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Listen as soon as the port is free."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        host, port = self._address
        logged = False
        while not self._stopping.is_set():
            try:
                server = _Server(host, port)
            except OSError as error:
                if not logged:
                    # All processes of a worker but one find it taken.
                    usual = error.errno == errno.EADDRINUSE and MULTIPROC_DIR_VARIABLE in os.environ
                    level = logging.INFO if usual else logging.WARNING
                    log.log(level, "metrics.cannot_listen", host=host, port=port, why=error.strerror)
                    logged = True
                self._stopping.wait(_RETRY_SECONDS)
                continue
            log.info("metrics.listening", host=host, port=port)
            with server:
                while not self._stopping.is_set():
                    server.handle_request()
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    timeout = 0.5  # seconds between checks for the end

    def __init__(self, host: str, port: int) -> None:
        """Listen there; raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _MetricsHandler)


class _MetricsHandler(BaseHTTPRequestHandler):
    """Answers GET /metrics, and 404 to anything else."""

    server_version = "waybill"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        body = render_metrics()
        with suppress(OSError):  # the client has gone
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: scrapes come every few seconds."""
