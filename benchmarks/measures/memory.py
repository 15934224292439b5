"""How much memory a worker process takes when nobody answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.watch import largest_worker

if TYPE_CHECKING:
    from benchmarks.bench import Bench

ENDPOINTS = 40
# Longer than it takes to get all of them on their way: 256 fresh ones every two seconds.
ATTEMPT_SECONDS = 30
PATIENCE = 40
LOOKS = 3


def stalled(bench: Bench) -> dict[str, float]:
    """One worker process with so many requests in flight at endpoints that never answer."""
    engine, site, most = bench.engine, bench.site, bench.sizes.stalled
    site.clear()
    targets = site.add_owners(1, ENDPOINTS, lambda _, kind: bench.inbox.url(f"/never/{kind}"))
    site.renew()
    site.owe(targets, most * 2)
    settings = {
        "WAYBILL_WORKER_PROCESSES": "1",
        "WAYBILL_WORKER_IN_FLIGHT_MAX": str(most),
        "WAYBILL_ATTEMPT_TIMEOUT": str(ATTEMPT_SECONDS),
    }
    with engine.set(**settings), engine.serving(kill=True):
        engine.until(lambda: bench.inbox.unanswered() >= most, f"{most:,} stalled requests", seconds=PATIENCE)
        found = 0.0
        for _ in range(LOOKS):
            found = max(found, largest_worker(engine.stack))
            if bench.inbox.unanswered() < most:
                raise RuntimeError("Stalled requests ended before the worker was looked at.")
            time.sleep(1)
    site.clear()
    return {"worker_stalled_mib": found}
