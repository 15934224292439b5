"""`python -m benchmarks.open_loop_load FILE`: post at a fixed rate, however slow the answers are.

FILE is a plan (`benchmarks.post_requests`). Each request has its scheduled time. Prints a line of JSON:
requests answered 202, requests answered otherwise, and how many milliseconds requests were sent late because
no connection was free. If the plan has `answers_file`, the id of each event and the time of its answer (ns
since 1970) are written there.
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
    """Open-loop load: slow answers do not reduce the rate."""

    def __init__(self, plan: LoadPlan) -> None:
        """Prepare the requests."""
        self._plan = plan
        self._requests = [post.to_bytes(plan.host) for post in plan.requests]
        self._turns = count()
        self.accepted = 0
        self.refused = 0
        self.late_seconds: list[float] = []
        self.answers: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Post until the time is over."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[self._post(began) for _ in range(self._plan.connections)])

    async def _post(self, began: float) -> None:
        plan = self._plan
        reader, writer = await asyncio.open_connection(plan.host, plan.port)
        loop = asyncio.get_running_loop()
        while (turn := next(self._turns)) < round(plan.seconds * plan.rate):
            moment = began + turn / plan.rate
            await asyncio.sleep(max(0.0, moment - loop.time()))
            self.late_seconds.append(loop.time() - moment)
            writer.write(self._requests[turn % len(self._requests)])
            accepted, body = await read_answer(reader)
            answered = time.time_ns()
            if not accepted:
                self.refused += 1
                continue
            self.accepted += 1
            if plan.answers_file:
                self.answers.append((json.loads(body)["id"], answered))
        writer.close()


def main() -> None:
    """Run as the module's docstring says."""
    plan = LoadPlan.read(sys.argv[1])
    stream = OpenLoopLoad(plan)
    uvloop.run(stream.run())
    if plan.answers_file:
        Path(plan.answers_file).write_text(json.dumps(stream.answers))
    late = statistics.quantiles(stream.late_seconds, n=100)[98]
    print(json.dumps({"accepted": stream.accepted, "refused": stream.refused, "late_p99_ms": late * 1000}))


if __name__ == "__main__":
    main()
