"""`python -m benchmarks.stream`: posts events at a fixed rate, whether or not they are answered in time.

Arguments: HOST PORT SECONDS RATE CONNECTIONS KEY TYPES BYTES. Each event has its moment, and waits for it on
one of the connections. Prints one line of JSON: how many were answered 202, how many otherwise, and by how
many milliseconds events were sent too late, because no connection was free.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from itertools import count

import uvloop

from benchmarks.load import request


class Stream:
    """Open-loop load: what is slow to answer does not make less come."""

    def __init__(self, host: str, port: int, *, rate: float, requests: list[bytes]) -> None:
        """Nothing is sent yet."""
        self._host = host
        self._port = port
        self._rate = rate
        self._requests = requests
        self._turns = count()
        self.accepted = 0
        self.refused = 0
        self.late: list[float] = []

    async def run(self, seconds: float, connections: int) -> None:
        """Post for so long, on so many connections."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[self._post(began, round(seconds * self._rate)) for _ in range(connections)])

    async def _post(self, began: float, most: int) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        loop = asyncio.get_running_loop()
        while (turn := next(self._turns)) < most:
            moment = began + turn / self._rate
            await asyncio.sleep(max(0.0, moment - loop.time()))
            self.late.append(loop.time() - moment)
            writer.write(self._requests[turn % len(self._requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().find(b"content-length: ") + 16
            await reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
            if head.startswith(b"HTTP/1.1 202"):
                self.accepted += 1
            else:
                self.refused += 1
        writer.close()


def main() -> None:
    """Run as the module's docstring says."""
    host, port, seconds, rate, connections, key, types, size = sys.argv[1:]
    requests = [request(host, key, f"order.e{kind}", int(size)) for kind in range(int(types))]
    stream = Stream(host, int(port), rate=float(rate), requests=requests)
    uvloop.run(stream.run(float(seconds), int(connections)))
    late = statistics.quantiles(stream.late, n=100)[98]
    print(json.dumps({"accepted": stream.accepted, "refused": stream.refused, "late_p99_ms": late * 1000}))


if __name__ == "__main__":
    main()
