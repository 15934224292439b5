"""`python -m benchmarks.closed_loop_load FILE`: post over kept-alive connections, back to back.

FILE is a plan (`benchmarks.post_requests`). Prints a line of JSON: events answered 202, requests answered
otherwise, and the latency of answers in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from itertools import count
from typing import TYPE_CHECKING

import uvloop

from benchmarks.post_requests import ACCEPTED, HEAD_END, LoadPlan, parse_content_length, read_answer

if TYPE_CHECKING:
    from benchmarks.post_requests import PostRequest

POLL_SECONDS = 0.05


class ClosedLoopLoad:
    """Closed-loop load: each connection posts its next request once the last one was answered.

    All connections pause while too many accepted events are undelivered, so that no backlog builds up.
    """

    def __init__(self, plan: LoadPlan) -> None:
        """Prepare the requests; `run` connects."""
        self._plan = plan
        self._requests = [(post.to_bytes(plan.host), post) for post in plan.requests]
        self._turns = count()
        self._owed = 0
        self._until = 0.0
        self._ahead = False  # of the receiver, by too much
        self._parked = 0  # closed connections, to be opened again
        self._open_connections = plan.connections
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.accepted = 0
        self.refused = 0
        self.latencies: list[float] = []

    async def run(self) -> None:
        """Post until the time is over. Raises OSError if the server closes a connection."""
        self._until = time.perf_counter() + self._plan.seconds
        await self._connect(self._plan.connections)
        pause_task: asyncio.Future[None] = asyncio.create_task(self._hold_back())
        ended, _ = await asyncio.wait({pause_task, self._over}, return_when=asyncio.FIRST_COMPLETED)
        pause_task.cancel()
        for task in ended:
            task.result()

    def take_request(self) -> tuple[bytes, PostRequest] | None:
        """The next request of a connection; None: it closes, for good or until the receiver has caught up."""
        if self._ahead:
            self._parked += 1
            return None
        if time.perf_counter() >= self._until:
            self._end()
            return None
        return self._requests[next(self._turns) % len(self._requests)]

    def record_answer(self, post: PostRequest, seconds: float, *, accepted: bool) -> None:
        """Count an answer."""
        self.latencies.append(seconds)
        if accepted:
            self.accepted += len(post.types)
            self._owed += len(post.types) * post.is_delivered
        else:
            self.refused += 1

    def abort(self, error: OSError) -> None:
        """End the run: a connection broke."""
        if not self._over.done():
            self._over.set_exception(error)

    async def _connect(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            await loop.create_connection(lambda: _Connection(self), self._plan.host, self._plan.port)

    async def _hold_back(self) -> None:
        """Pause all connections while too many accepted events are undelivered."""
        if not self._plan.max_undelivered:
            return await self._over
        reader, writer = await asyncio.open_connection(self._plan.host, self._plan.receiver)
        before: int | None = None
        while True:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            _, body = await read_answer(reader)
            before = int(body) if before is None else before
            self._ahead = self._owed - (int(body) - before) >= self._plan.max_undelivered
            if not self._ahead and self._parked:
                parked, self._parked = self._parked, 0
                await self._connect(parked)
            await asyncio.sleep(POLL_SECONDS)

    def _end(self) -> None:
        self._open_connections -= 1
        if self._open_connections == 0 and not self._over.done():
            self._over.set_result(None)


class _Connection(asyncio.Protocol):
    """Posts one request after another. Streams would take a sixth more of the measured processors."""

    def __init__(self, load: ClosedLoopLoad) -> None:
        self._load = load
        self._buffer = b""
        self._ends = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._post()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        if end < 0 or len(self._buffer) < end + len(HEAD_END) + parse_content_length(self._buffer[:end]):
            return
        accepted = self._buffer.startswith(ACCEPTED)
        self._load.record_answer(self._posted, time.perf_counter() - self._began, accepted=accepted)
        self._post()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ends:
            self._load.abort(ConnectionResetError(f"The server closed the connection: {exc!r}"))

    def _post(self) -> None:
        turn = self._load.take_request()
        if turn is None:
            self._ends = True
            self._transport.close()
            return
        self._buffer, self._began = b"", time.perf_counter()
        request, self._posted = turn
        self._transport.write(request)


async def _run(plan: LoadPlan) -> ClosedLoopLoad:
    load = ClosedLoopLoad(plan)
    await load.run()
    return load


def main() -> None:
    """Run as the module's docstring says."""
    began = time.perf_counter()
    load = uvloop.run(_run(LoadPlan.read(sys.argv[1])))
    cuts = statistics.quantiles(load.latencies, n=100)
    print(
        json.dumps(
            {
                "accepted": load.accepted,
                "refused": load.refused,
                "seconds": time.perf_counter() - began,
                "processor_seconds": time.process_time(),
                "p50_ms": cuts[49] * 1000,
                "p99_ms": cuts[98] * 1000,
            }
        )
    )


if __name__ == "__main__":
    main()
