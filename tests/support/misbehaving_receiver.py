"""Many endpoints that fail, each in its own way: `python -m tests.support.misbehaving_receiver PORT`.

How a path behaves is told at run time, and so is its repair. Raw asyncio on uvloop, so that the receiver is
not what is measured. Paths below `/-/` are for whoever looks on: `Troubled` is that side of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import uvloop

from tests.support.stack import find_free_port, wait_until

if TYPE_CHECKING:
    from tests.support.stack import Stack

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class PathBehaviour:
    """How a path answers: after how many seconds (None: never), with what."""

    status: int = 200
    delay: float | None = 0.0
    retry_after: int | None = None

    def to_bytes(self) -> bytes:
        """The answer as it goes over the wire."""
        asked = "" if self.retry_after is None else f"Retry-After: {self.retry_after}\r\n"
        return f"HTTP/1.1 {self.status} X\r\n{asked}Content-Length: 0\r\n\r\n".encode()


HEALTHY = PathBehaviour()
NEVER_ANSWERS = PathBehaviour(delay=None)
ALWAYS_500 = PathBehaviour(500)


@dataclass(slots=True)
class PathStats:
    """A path's requests: in all, in flight now, and the most at the same time.

    Since its manner was last told: good answers given, and how many requests were on their way at most when
    n + 1 of them had been given, by the logarithm of that to the base 2.
    """

    requests: int = 0
    in_flight: int = 0
    most: int = 0
    good: int = 0
    peaks: list[int] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)  # by webhook-id

    def count_request(self, message_id: str) -> None:
        """Count a request."""
        self.requests += 1
        self.in_flight += 1
        self.times[message_id] += 1
        self.most = max(self.most, self.in_flight)
        doublings = (self.good + 1).bit_length()
        self.peaks += [0] * (doublings - len(self.peaks))
        self.peaks[doublings - 1] = max(self.peaks[doublings - 1], self.in_flight)

    def count_answer(self, *, is_good: bool) -> None:
        """Count an answer, or a sender that did not wait for it."""
        self.in_flight -= 1
        self.good += is_good

    def reset_counts(self) -> None:
        """Reset the counts."""
        self.good = 0
        self.peaks = []

    def to_json(self, *, ids: bool) -> dict[str, Any]:
        """All of it, as JSON has it."""
        fields = ("requests", "in_flight", "most", "good", "peaks")
        return {name: getattr(self, name) for name in fields} | {"times": self.times if ids else {}}


class PathRegistry:
    """All paths: how they behave and what they have seen."""

    def __init__(self) -> None:
        self._manners: dict[str, PathBehaviour] = {}
        self._seen: dict[str, PathStats] = {}

    def get_stats(self, path: str) -> PathStats:
        return self._seen.setdefault(path, PathStats())

    def find_behaviour(self, path: str) -> PathBehaviour:
        """The latest behaviour that was set for a prefix of this path."""
        told = [manner for prefix, manner in self._manners.items() if path.startswith(prefix)]
        return told[-1] if told else HEALTHY

    def handle_command(self, body: bytes) -> bytes:
        """Do what `Troubled` asks for; answers with what was seen."""
        asked: dict[str, Any] = json.loads(body)
        match asked:
            case {"prefix": prefix, "manner": manner}:
                self._set_behaviour(prefix, PathBehaviour(**manner))
            case {"forget": True}:
                self._seen = {path: PathStats(in_flight=seen.in_flight) for path, seen in self._seen.items()}
            case {"ids": ids}:
                shown = {path: seen.to_json(ids=ids) for path, seen in self._seen.items()}
                return json.dumps(shown).encode()
            case _:
                raise ValueError(asked)
        return b"{}"

    def _set_behaviour(self, prefix: str, manner: PathBehaviour) -> None:
        self._manners.pop(prefix, None)
        self._manners[prefix] = manner
        for path, seen in self._seen.items():
            if path.startswith(prefix):
                seen.reset_counts()


class ReceiverProtocol(asyncio.Protocol):
    """One connection: requests come one after another."""

    def __init__(self, town: PathRegistry) -> None:
        self._town = town
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._waiting: PathStats | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.count_answer(is_good=False)
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        size = end + len(_HEAD_END) + int(headers.get("content-length", "0"))
        if len(self._buffer) < size:
            return
        body, self._buffer = self._buffer[end + len(_HEAD_END) : size], self._buffer[size:]
        path = lines[0].split(" ")[1]
        if path.startswith("/-/"):
            said = self._town.handle_command(body)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        else:
            self._take(path, headers.get("webhook-id", ""))

    def _take(self, path: str, message_id: str) -> None:
        manner = self._town.find_behaviour(path)
        self._waiting = self._town.get_stats(path)
        self._waiting.count_request(message_id)
        if manner.delay == 0:
            self._answer(manner)
        elif manner.delay is not None:
            self._timer = self._loop.call_later(manner.delay, self._answer, manner)

    def _answer(self, manner: PathBehaviour) -> None:
        if self._waiting is not None:
            self._waiting.count_answer(is_good=manner.status == HTTPStatus.OK)
            self._waiting = None
            self._transport.write(manner.to_bytes())


class MisbehavingReceiver:
    """The receiver's other side: tells paths how to behave, and asks what they have seen."""

    def __init__(self, stack: Stack) -> None:
        """Start it among the processes of a stack, and wait until it listens."""
        self._url = f"http://127.0.0.1:{find_free_port()}"
        stack.start("receiver", sys.executable, "-m", __name__, self._url.rpartition(":")[2])
        wait_until(self._is_listening, "the receiver", seconds=30)

    def get_url(self, path: str) -> str:
        """Where a path is reached."""
        return self._url + path

    def set_behaviour(self, prefix: str, behaviour: PathBehaviour) -> None:
        """Let all paths that begin so behave like this from their next request on."""
        self._send_command({"prefix": prefix, "manner": asdict(behaviour)})

    def reset_stats(self) -> None:
        """Reset the counts."""
        self._send_command({"forget": True})

    def read_stats(self, prefix: str = "/", *, ids: bool = False) -> dict[str, PathStats]:
        """The counts of paths with this prefix; with `ids`, requests per webhook-id."""
        told = self._send_command({"ids": ids}).items()
        return {path: PathStats(**seen) for path, seen in told if path.startswith(prefix)}

    def _is_listening(self) -> bool:
        try:
            self._send_command({"ids": False})
        except OSError:
            return False
        return True

    def _send_command(self, question: dict[str, Any]) -> Any:
        request = Request(self._url + "/-/", data=json.dumps(question).encode())
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)


async def main(port: int) -> None:
    """Serve until killed."""
    town = PathRegistry()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ReceiverProtocol(town), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
