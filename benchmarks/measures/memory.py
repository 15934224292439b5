"""Memory of a worker process whose requests are never answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.memory_watch import measure_largest_worker

if TYPE_CHECKING:
    from benchmarks.suite import BenchSuite

ENDPOINTS = 40
# Long enough to send all of them: 256 fresh requests every two seconds.
ATTEMPT_SECONDS = 30
TIMEOUT_SECONDS = 40
SAMPLES = 3


def measure_stalled_memory(bench: BenchSuite) -> dict[str, float]:
    """Measure one worker process with many requests in flight that are never answered."""
    engine, site, stalled = bench.engine, bench.site, bench.sizes.stalled
    site.reset()
    targets = site.add_tenants(1, ENDPOINTS, lambda _, kind: bench.inbox.get_url(f"/never/{kind}"))
    site.reset_queue()
    site.add_pending(targets, stalled * 2)
    settings = {
        "WAYBILL_WORKER_PROCESSES": "1",
        "WAYBILL_WORKER_IN_FLIGHT_MAX": str(stalled),
        "WAYBILL_ATTEMPT_TIMEOUT": str(ATTEMPT_SECONDS),
    }
    with engine.override_settings(**settings), engine.run_processes(kill=True):
        engine.wait_until(
            lambda: bench.inbox.count_unanswered() >= stalled,
            f"{stalled:,} stalled requests",
            seconds=TIMEOUT_SECONDS,
        )
        largest = 0.0
        for _ in range(SAMPLES):
            largest = max(largest, measure_largest_worker(engine.stack))
            if bench.inbox.count_unanswered() < stalled:
                raise RuntimeError("Stalled requests ended before the worker was measured.")
            time.sleep(1)
    site.reset()
    return {"worker_stalled_mib": largest}
