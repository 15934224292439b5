"""`python -m benchmarks.open_loop_load FILE`: posts at a fixed rate, whether or not it is answered in time.

The file says what (`benchmarks.post_requests`). Each request has its moment, and waits for it on one of the
connections. Prints one line of JSON: how many were answered 202, how many otherwise, and by how many
milliseconds requests were sent too late, because no connection was free. Where the file asks for it, the id
of each event and the moment of its answer (nanoseconds since 1970) are written to another.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from itertools import count
from pathlib import Path

import uvloop

from benchmarks.post_requests import LoadPlan, read_answer


class OpenLoopLoad:
    """Open-loop load: what is slow to answer does not make less come."""

    def __init__(self, posting: LoadPlan) -> None:
        """Nothing is sent yet."""
        self._posting = posting
        self._requests = [post.to_bytes(posting.host) for post in posting.requests]
        self._turns = count()
        self.accepted = 0
        self.refused = 0
        self.late_seconds: list[float] = []
        self.answers: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Post until the time is over."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[self._post(began) for _ in range(self._posting.connections)])

    async def _post(self, began: float) -> None:
        posting = self._posting
        reader, writer = await asyncio.open_connection(posting.host, posting.port)
        loop = asyncio.get_running_loop()
        while (turn := next(self._turns)) < round(posting.seconds * posting.rate):
            moment = began + turn / posting.rate
            await asyncio.sleep(max(0.0, moment - loop.time()))
            self.late_seconds.append(loop.time() - moment)
            writer.write(self._requests[turn % len(self._requests)])
            accepted, body = await read_answer(reader)
            answered = time.time_ns()
            if not accepted:
                self.refused += 1
                continue
            self.accepted += 1
            if posting.answers_file:
                self.answers.append((json.loads(body)["id"], answered))
        writer.close()


def main() -> None:
    """Run as the module's docstring says."""
    posting = LoadPlan.read(sys.argv[1])
    stream = OpenLoopLoad(posting)
    uvloop.run(stream.run())
    if posting.answers_file:
        Path(posting.answers_file).write_text(json.dumps(stream.answers))
    late = statistics.quantiles(stream.late_seconds, n=100)[98]
    print(json.dumps({"accepted": stream.accepted, "refused": stream.refused, "late_p99_ms": late * 1000}))


if __name__ == "__main__":
    main()
