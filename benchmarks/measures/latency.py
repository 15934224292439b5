"""Latency from an event to its receivers on an idle engine."""

from __future__ import annotations

import statistics
import time
from functools import partial
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
from typing import TYPE_CHECKING

from benchmarks.bench_database import PAYLOAD_BYTES
from benchmarks.post_requests import PostRequest
from benchmarks.sequential_client import SequentialClient

if TYPE_CHECKING:
    from benchmarks.receiver_client import ReceiverClient
    from benchmarks.suite import BenchSuite

FAN_OUT = 1_000
WARM_UP_ROUNDS = 2
# Random seconds between two events, so that they do not align with the engine's own intervals.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.12
TIMEOUT_SECONDS = 30.0
NANOSECONDS_PER_MS = 1e6


def measure_idle_latency(bench: BenchSuite) -> dict[str, float]:
    """Measure answered to arrived, one event at a time, each after the previous one was recorded."""
    engine, rng = bench.engine, Random(7)  # noqa: S311  not a secret
    bench.site.reset()
    took: list[float] = []
    with engine.run_processes():
        bench.warm_up()
        poster = SequentialClient(engine.stack.port)
        bench.inbox.start_recording("/hooks/")
        for number in range(bench.sizes.idle):
            post = bench.singles[number % len(bench.singles)]
            posted = poster.post(post.to_bytes("127.0.0.1"))
            time.sleep(rng.uniform(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
            engine.wait_until_delivered(seconds=TIMEOUT_SECONDS)
            [(event_id, arrived)] = bench.inbox.read_recorded()
            if event_id != posted.event_id:
                raise RuntimeError(f"{event_id} arrived, but {posted.event_id} was posted.")
            took.append((arrived - posted.answered_ns) / NANOSECONDS_PER_MS)
        poster.close()
    bench.site.reset()
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {"idle_p50_ms": cuts[49], "idle_p99_ms": cuts[98]}


def measure_fan_out(bench: BenchSuite) -> dict[str, float]:
    """Send one event to a thousand endpoints: seconds from answered to the last arrival."""
    engine, inbox = bench.engine, bench.inbox
    bench.site.reset()
    targets = bench.site.add_tenants(1, FAN_OUT, lambda _, kind: inbox.get_url(f"/fan/{kind}"))
    bench.site.execute("update endpoints set filter = '{*}' where tenant_id = %s", [targets[0].tenant])
    request = PostRequest(
        engine.create_key(targets[0].tenant_public_id), ["order.paid"], PAYLOAD_BYTES
    ).to_bytes("127.0.0.1")
    took = []
    with engine.run_processes():
        bench.site.reset_queue()
        for _ in range(WARM_UP_ROUNDS + bench.sizes.fanned_out):
            inbox.start_recording("/fan/")
            goal = inbox.count_received() + FAN_OUT
            poster = SequentialClient(engine.stack.port)  # a new one: web closes idle connections
            posted = poster.post(request)
            poster.close()
            engine.wait_until(partial(_has_arrived, inbox, goal), "a fan-out", seconds=TIMEOUT_SECONDS)
            engine.wait_until_delivered(seconds=TIMEOUT_SECONDS)
            arrived = [at for event_id, at in inbox.read_recorded() if event_id == posted.event_id]
            if len(arrived) != FAN_OUT:
                raise RuntimeError(f"{len(arrived)} of {FAN_OUT} requests arrived.")
            took.append((max(arrived) - posted.answered_ns) / 1e9)
    bench.site.reset()
    return {"fanout_1000_s": statistics.median(took[WARM_UP_ROUNDS:])}


def _has_arrived(inbox: ReceiverClient, goal: int) -> bool:
    return inbox.count_received() >= goal
