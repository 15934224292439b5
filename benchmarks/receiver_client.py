"""Controls the fast receiver: its URLs, its counts, and arrival times."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.request import urlopen

from tests.support.stack import find_free_port, wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack


class ReceiverClient:
    """The fast receiver, run as a process of a stack."""

    def __init__(self, stack: Stack) -> None:
        """Start the receiver and wait until it listens."""
        self.port = find_free_port()
        self._url = f"http://127.0.0.1:{self.port}"
        stack.start("receiver", sys.executable, "-m", "benchmarks.fast_receiver", str(self.port))
        wait_until(self._is_listening, "the receiver", seconds=30)

    def get_url(self, path: str) -> str:
        """The URL of a path."""
        return self._url + path

    def count_received(self) -> int:
        """Count the requests since its start."""
        return int(self._request("/"))

    def count_unanswered(self) -> int:
        """Count the requests that wait for an answer that never comes."""
        return int(self._request("/-/unanswered"))

    def start_recording(self, prefix: str) -> None:
        """Record from now on when requests to these paths arrive."""
        self._request(f"/-/keep{prefix}")

    def read_recorded(self) -> list[tuple[str, int]]:
        """The webhook-id and time (ns since 1970) of each request recorded since the last call."""
        return [(event, at) for event, at in json.loads(self._request("/-/kept"))]

    def _is_listening(self) -> bool:
        try:
            self.count_received()
        except OSError:
            return False
        return True

    def _request(self, path: str) -> bytes:
        with urlopen(self._url + path, timeout=30) as answer:  # noqa: S310  our own receiver
            content: bytes = answer.read()
        return content
