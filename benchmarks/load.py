"""`python -m benchmarks.load FILE`: posts over kept-alive connections, as fast as they are answered.

The file says what (`benchmarks.posts`). Prints one line of JSON: how many events were answered 202, how many
requests otherwise, and the latency of the answers in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from itertools import count

import uvloop

from benchmarks.posts import Posting, answer_of

LOOK_SECONDS = 0.05


class Load:
    """Closed-loop load: each connection posts the next request when the last was answered.

    What is accepted faster than it is delivered would only make a backlog: then all connections wait.
    """

    def __init__(self, posting: Posting) -> None:
        """Prepare every request but its connection."""
        self._posting = posting
        self._requests = [(post.request(posting.host), post) for post in posting.posts]
        self._turns = count()
        self._may_go = asyncio.Event()
        self._may_go.set()
        self._owed = 0
        self.accepted = 0
        self.refused = 0
        self.latencies: list[float] = []

    async def run(self) -> None:
        """Post until the time is over."""
        until = time.perf_counter() + self._posting.seconds
        holding = asyncio.create_task(self._hold_back())
        await asyncio.gather(*[self._post_until(until) for _ in range(self._posting.connections)])
        holding.cancel()

    async def _hold_back(self) -> None:
        """Let nobody post while too much of what was accepted has not arrived."""
        if not self._posting.most_ahead:
            return
        reader, writer = await asyncio.open_connection(self._posting.host, self._posting.receiver)
        before: int | None = None
        while True:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            _, body = await answer_of(reader)
            before = int(body) if before is None else before
            ahead = self._owed - (int(body) - before)
            self._may_go.set() if ahead < self._posting.most_ahead else self._may_go.clear()
            await asyncio.sleep(LOOK_SECONDS)

    async def _post_until(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(self._posting.host, self._posting.port)
        while (began := time.perf_counter()) < until:
            request, post = self._requests[next(self._turns) % len(self._requests)]
            writer.write(request)
            accepted, _ = await answer_of(reader)
            self.latencies.append(time.perf_counter() - began)
            if accepted:
                self.accepted += len(post.types)
                self._owed += len(post.types) * post.arrives
            else:
                self.refused += 1
            if not self._may_go.is_set():
                await self._may_go.wait()
                writer.close()  # the server may have, since nothing came for so long
                reader, writer = await asyncio.open_connection(self._posting.host, self._posting.port)
        writer.close()


def main() -> None:
    """Run as the module's docstring says."""
    load = Load(Posting.read(sys.argv[1]))
    began = time.perf_counter()
    uvloop.run(load.run())
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
