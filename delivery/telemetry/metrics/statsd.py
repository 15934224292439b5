"""Sends the metrics to statsd or Graphite over UDP: every few seconds, what was counted since the last time.

https://github.com/statsd/statsd/blob/master/docs/metric_types.md
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from delivery.log import get_logger
from delivery.telemetry.metrics import prometheus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = get_logger()

FLUSH_INTERVAL_SECONDS: Final = 10.0
# Passes through any network in one piece.
_MAX_DATAGRAM_BYTES: Final = 1_400
_COUNTER_SUFFIXES: Final = ("_total", "_count", "_sum")


class StatsdSink:
    """Sends the metrics of this process. A datagram that cannot be sent is lost; nothing waits for it."""

    def __init__(self, host: str, port: int, *, interval_seconds: float = FLUSH_INTERVAL_SECONDS) -> None:
        """Nothing is sent until `start`."""
        self._address = (host, port)
        self._interval_seconds = interval_seconds
        self._sent: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the last changes, and stop."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_seconds):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with suppress(OSError):
            # Resolved each time: a collector may move.
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as out:
                out.settimeout(0)
                for datagram in pack_datagrams(collect_changes(self._sent)):
                    out.sendto(datagram, address)


def collect_changes(sent: dict[str, float]) -> Iterator[str]:
    """The gauges, and the growth of counters since `sent`, which is updated."""
    for family in prometheus.collect_process_metrics():
        for sample in family.samples:
            name = ".".join([sample.name, *sample.labels.values()])
            if family.type == "gauge":
                yield f"{name}:{sample.value:.15g}|g"
            elif sample.name.endswith(_COUNTER_SUFFIXES):
                counted = sample.value - sent.get(name, 0.0)
                sent[name] = sample.value
                if counted:
                    yield f"{name}:{counted:.15g}|c"


def pack_datagrams(lines: Iterable[str]) -> Iterator[bytes]:
    """Pack lines into datagrams. Pure."""
    piece = b""
    for line in lines:
        encoded = line.encode()
        if piece and len(piece) + 1 + len(encoded) > _MAX_DATAGRAM_BYTES:
            yield piece
            piece = b""
        piece = piece + b"\n" + encoded if piece else encoded
    if piece:
        yield piece
