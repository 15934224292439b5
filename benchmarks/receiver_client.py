"""The fast receiver's other side: where its paths are, and what has arrived when."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.request import urlopen

from tests.support.stack import free_port, wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack


class Inbox:
    """A receiver among the processes of a stack."""

    def __init__(self, stack: Stack) -> None:
        """Start it, and wait until it listens."""
        self.port = free_port()
        self._url = f"http://127.0.0.1:{self.port}"
        stack.start("receiver", sys.executable, "-m", "benchmarks.receiver", str(self.port))
        wait_until(self._listens, "the receiver", seconds=30)

    def url(self, path: str) -> str:
        """Where a path is reached."""
        return self._url + path

    def count(self) -> int:
        """How many requests have arrived since it started."""
        return int(self._ask("/"))

    def unanswered(self) -> int:
        """How many requests wait now for an answer that never comes."""
        return int(self._ask("/-/unanswered"))

    def keep(self, prefix: str) -> None:
        """Note from now on when requests to these paths arrive."""
        self._ask(f"/-/keep{prefix}")

    def kept(self) -> list[tuple[str, int]]:
        """The webhook-id and the moment (nanoseconds since 1970) of each noted since the last look."""
        return [(event, at) for event, at in json.loads(self._ask("/-/kept"))]

    def _listens(self) -> bool:
        try:
            self.count()
        except OSError:
            return False
        return True

    def _ask(self, path: str) -> bytes:
        with urlopen(self._url + path, timeout=30) as answer:  # noqa: S310  our own receiver
            told: bytes = answer.read()
        return told
