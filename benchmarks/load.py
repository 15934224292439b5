"""`python -m benchmarks.load`: posts events over kept-alive connections, as fast as they are answered.

Arguments: URL PATH SECONDS CONNECTIONS KEYS-FILE TYPES BYTES. Prints one line of JSON: how many were answered
202, how many otherwise, and the latency of the answers in milliseconds.
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


class Load:
    """Closed-loop load: each connection posts the next event when the last was answered."""

    def __init__(self, host: str, port: int, *, keys: list[str], types: int, size: int) -> None:
        """Prepare every request but its connection."""
        self._host = host
        self._port = port
        self._requests = [request(host, key, f"order.e{kind}", size) for key in keys for kind in range(types)]
        self._turns = count()
        self.accepted = 0
        self.refused = 0
        self.latencies: list[float] = []

    async def run(self, seconds: float, connections: int) -> None:
        """Post on so many connections for so long."""
        until = time.perf_counter() + seconds
        await asyncio.gather(*[self._post_until(until) for _ in range(connections)])

    async def _post_until(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while (began := time.perf_counter()) < until:
            writer.write(self._requests[next(self._turns) % len(self._requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().find(b"content-length: ") + 16
            await reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
            self.latencies.append(time.perf_counter() - began)
            if head.startswith(b"HTTP/1.1 202"):
                self.accepted += 1
            else:
                self.refused += 1
        writer.close()


def request(host: str, key: str, event_type: str, size: int) -> bytes:
    """One event's whole request, of so many bytes of data."""
    body = json.dumps({"type": event_type, "data": {"filler": "x" * size}}).encode()
    return (
        f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def main() -> None:
    """Run as the module's docstring says."""
    host, port, seconds, connections, keys, types, size = sys.argv[1:]
    load = Load(host, int(port), keys=Path(keys).read_text().split(), types=int(types), size=int(size))
    began = time.perf_counter()
    uvloop.run(load.run(float(seconds), int(connections)))
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
