"""How much memory a worker process takes when nobody answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.memory_watch import measure_largest_worker

if TYPE_CHECKING:
    from benchmarks.suite import BenchSuite

ENDPOINTS = 40
# Longer than it takes to get all of them on their way: 256 fresh ones every two seconds.
ATTEMPT_SECONDS = 30
TIMEOUT_SECONDS = 40
SAMPLES = 3


def measure_stalled_memory(bench: BenchSuite) -> dict[str, float]:
    """One worker process with so many requests in flight at endpoints that never answer."""
    engine, site, most = bench.engine, bench.site, bench.sizes.stalled
    site.reset()
    targets = site.add_tenants(1, ENDPOINTS, lambda _, kind: bench.inbox.get_url(f"/never/{kind}"))
    site.reset_queue()
    site.add_pending(targets, most * 2)
    settings = {
        "WAYBILL_WORKER_PROCESSES": "1",
        "WAYBILL_WORKER_IN_FLIGHT_MAX": str(most),
        "WAYBILL_ATTEMPT_TIMEOUT": str(ATTEMPT_SECONDS),
    }
    with engine.override_settings(**settings), engine.run_processes(kill=True):
        engine.wait_until(
            lambda: bench.inbox.count_unanswered() >= most,
            f"{most:,} stalled requests",
            seconds=TIMEOUT_SECONDS,
        )
        found = 0.0
        for _ in range(SAMPLES):
            found = max(found, measure_largest_worker(engine.stack))
            if bench.inbox.count_unanswered() < most:
                raise RuntimeError("Stalled requests ended before the worker was looked at.")
            time.sleep(1)
    site.reset()
    return {"worker_stalled_mib": found}
