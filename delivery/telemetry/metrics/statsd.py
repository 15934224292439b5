"""The same metrics for statsd or Graphite: what was counted since the last time, every few seconds, over UDP.

https://github.com/statsd/statsd/blob/master/docs/metric_types.md
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from delivery.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = structlog.get_logger()

EVERY_SECONDS: Final = 10.0
# What passes through any network in one piece.
_DATAGRAM: Final = 1_400
_PLACE: Final = re.compile(r"(?P<host>[^:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})\Z")
_COUNTED: Final = ("_total", "_count", "_sum")


def parse_place(text: str) -> tuple[str, int]:
    """Read `host:port`; raises ValueError."""
    found = _PLACE.match(text)
    if found is None or not 1 <= int(found["port"]) <= 65_535:  # noqa: PLR2004  the last port
        raise ValueError(f"{text!r} is not of the form host:port")
    return found["host"].strip("[]"), int(found["port"])


class Sink:
    """Sends what this process has counted; what cannot be sent is lost, and nobody waits for it."""

    def __init__(self, host: str, port: int, *, every: float = EVERY_SECONDS) -> None:
        """Nothing is sent yet; `every` is in seconds."""
        self._where = (host, port)
        self._every = every
        self._sent: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)

    def open(self) -> None:
        """Send from now on."""
        self._thread.start()

    def close(self) -> None:
        """Send what is left, and no more."""
        self._over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with suppress(OSError):
            # Looked up each time: a collector may move.
            family, kind, protocol, _, address = socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as out:
                out.settimeout(0)
                for datagram in packed(fresh(self._sent)):
                    out.sendto(datagram, address)


def fresh(sent: dict[str, float]) -> Iterator[str]:
    """How this process stands, and what it has counted beyond what was sent, which is noted as sent."""
    for family in exposition.own():
        for sample in family.samples:
            name = ".".join([sample.name, *sample.labels.values()])
            if family.type == "gauge":
                yield f"{name}:{sample.value:.15g}|g"
            elif sample.name.endswith(_COUNTED):
                counted = sample.value - sent.get(name, 0.0)
                sent[name] = sample.value
                if counted:
                    yield f"{name}:{counted:.15g}|c"


def packed(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines, as many to a datagram as go in. Pure."""
    piece = b""
    for line in lines:
        one = line.encode()
        if piece and len(piece) + 1 + len(one) > _DATAGRAM:
            yield piece
            piece = b""
        piece = piece + b"\n" + one if piece else one
    if piece:
        yield piece
