"""Throughput: end to end, from a backlog, with large bodies, and of the naive baseline."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench_database import PAYLOAD_BYTES
from benchmarks.memory_watch import WorkerMemoryWatch
from benchmarks.post_requests import PostRequest
from benchmarks.suite import ENDPOINTS_EACH, MIB
from signing import generate_hmac

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.suite import BenchSuite

BATCH = 100
BODY_BYTES = 65_536
STEP_LABELS = {
    "claimed": "accepted → claimed",
    "started": "claimed → started",
    "answered": "started → answered",
}
_ACCEPTED_TO_RECORDED = """
    select min(created_at), max(finished_at), count(*) filter (where status = 'succeeded'),
           percentile_cont(0.5) within group (order by took),
           percentile_cont(0.99) within group (order by took)
    from (
        select *, cast(extract(epoch from finished_at - created_at) * 1000 as float) as took from deliveries
    ) as d
"""
_STEPS = """
    with steps as (
        select claimed_at - created_at as claimed, started_at - claimed_at as started,
               total_us * interval '1 microsecond' as answered
        from deliveries join attempts on attempts.delivery_id = deliveries.id
    ), long as (
        select step, cast(extract(epoch from took) * 1000 as float) as took
        from steps cross join lateral (
            values ('claimed', claimed), ('started', started), ('answered', answered)
        ) as s (step, took)
    )
    select jsonb_object_agg(step, cuts) from (
        select step, percentile_cont(array[0.5, 0.99]) within group (order by took) as cuts
        from long group by step
    ) as by_step
"""
_NAIVE_LEFT = "select count(*) from naive_deliveries where status = 'pending'"
_NAIVE_RATE = """
    select min(at), max(finished_at), count(*) from naive_deliveries
    join naive_attempts on delivery_id = naive_deliveries.id
"""


def measure_single_posts(bench: BenchSuite) -> dict[str, float]:
    """Measure single events, posted as fast as they are answered, until recorded success."""
    return _measure_end_to_end(bench, bench.singles, "e2e")


def measure_batch_posts(bench: BenchSuite) -> dict[str, float]:
    """Measure the same in batches of a hundred."""
    kinds = [f"order.e{number % ENDPOINTS_EACH}" for number in range(BATCH)]
    return _measure_end_to_end(
        bench, [PostRequest(key, kinds, PAYLOAD_BYTES) for key in bench.keys], "e2e_batch"
    )


def measure_drain(bench: BenchSuite) -> dict[str, float]:
    """Drain a backlog, from the first attempt to the last success."""
    site, since = bench.site, _prepare_backlog(bench, bench.sizes.backlog)
    with bench.engine.run_processes(), WorkerMemoryWatch(bench.engine.stack) as watch:
        bench.engine.wait_until_delivered(seconds=bench.sizes.backlog / 100 + 60)
    rate = site.compute_rate(since)
    site.reset()
    return {"drain_per_s": rate, "worker_mib": watch.peak_mib}


def measure_large_bodies(bench: BenchSuite) -> dict[str, float]:
    """Drain a backlog of large bodies, in MiB of bodies per second."""
    site, since = bench.site, _prepare_backlog(bench, bench.sizes.bodies, BODY_BYTES)
    with bench.engine.run_processes():
        bench.engine.wait_until_delivered()
    rate = site.compute_rate(since)
    site.reset()
    return {"body_mib_per_s": rate * BODY_BYTES / MIB}


def measure_naive_baseline(bench: BenchSuite) -> dict[str, float]:
    """Drain a backlog with the naive baseline, in two worker processes."""
    os.environ.update(bench.engine.stack.environment)
    from benchmarks import naive_baseline as baseline  # noqa: PLC0415  it connects at import

    engine, site = bench.engine, bench.site
    secret = generate_hmac(b"s" * 32).reveal()
    body = json.dumps({"type": "order.e0", "data": {"filler": "x" * PAYLOAD_BYTES}}).encode()
    site.execute(baseline.TABLES)
    site.execute(
        "insert into naive_deliveries (id, url, secret, body) "
        "select n, %s, %s, %s from generate_series(1, %s) as n",
        [bench.inbox.get_url("/hooks/naive"), secret, body, bench.sizes.naive],
    )
    for number in range(1, bench.sizes.naive + 1):
        baseline.deliver.send(number)
    dramatiq = str(Path(sys.executable).with_name("dramatiq"))
    engine.stack.start(
        "naive", dramatiq, "benchmarks.naive_baseline", "--processes", "2", "--threads", "8",
        "--queues", baseline.QUEUE,
    )  # fmt: skip
    engine.wait_until(lambda: site.fetch_row(_NAIVE_LEFT)[0] == 0, "the naive baseline")
    engine.kill(["naive"])  # a normal stop takes long: Dramatiq's AsyncIO handles the signal twice
    first, last, count = site.fetch_row(_NAIVE_RATE)
    return {"naive_per_s": count / (last - first).total_seconds()}


def _measure_end_to_end(bench: BenchSuite, posts: Sequence[PostRequest], name: str) -> dict[str, float]:
    engine, site = bench.engine, bench.site
    site.reset()
    with engine.run_processes(), WorkerMemoryWatch(engine.stack) as watch:
        bench.warm_up()
        before = engine.stack.processor_seconds()
        counts = engine.run_closed_loop(posts, bench.sizes.seconds, bench.sizes.connections, bench.inbox.port)
        engine.wait_until_delivered()
        used = {key: now - before[key] for key, now in engine.stack.processor_seconds().items()}
    first, last, succeeded, p50, p99 = site.fetch_row(_ACCEPTED_TO_RECORDED)
    steps = site.fetch_row(_STEPS)[0]
    site.reset()
    if succeeded != counts["accepted"]:
        raise RuntimeError(f"{succeeded} of {counts['accepted']} accepted events succeeded.")
    return (
        {
            f"{name}_per_s": succeeded / (last - first).total_seconds(),
            "worker_mib": watch.peak_mib,
            f"{name}_answer_p50_ms": counts["p50_ms"],
            f"{name}_answer_p99_ms": counts["p99_ms"],
            f"{name}_recorded_p50_ms": p50,
            f"{name}_recorded_p99_ms": p99,
            f"{name}_refused": counts["refused"],
        }
        | {
            f"{name}_{label} {which} ms": value
            for step, label in STEP_LABELS.items()
            for which, value in zip(("p50", "p99"), steps[step], strict=True)
        }
        | _compute_processor_time(name, used | {"load generator": counts["processor_seconds"]}, succeeded)
    )


def _compute_processor_time(name: str, used: dict[str, Any], events: int) -> dict[str, float]:
    return {f"{name}_us {process}": seconds / events * 1e6 for process, seconds in used.items()}


def _prepare_backlog(bench: BenchSuite, count: int, size: int = PAYLOAD_BYTES) -> datetime:
    """Add pending deliveries; returns the time after that."""
    bench.site.reset()
    bench.site.add_pending(bench.endpoints, count, size)
    return datetime.now(UTC)
