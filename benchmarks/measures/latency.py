"""How long an event takes to its receivers when nothing else is to be done."""

from __future__ import annotations

import statistics
import time
from functools import partial
from random import Random  # noqa: TID251  a benchmark brings its own dice, with a seed
from typing import TYPE_CHECKING

from benchmarks.poster import Poster
from benchmarks.posts import Post
from benchmarks.site import PAYLOAD_BYTES

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.inbox import Inbox

FAN_OUT = 1_000
NOT_COUNTED = 2
# Between two events, seconds: never in step with anything that the engine does at intervals.
SHORTEST, LONGEST = 0.05, 0.12
PATIENCE = 30.0
MS = 1e6


def idle(bench: Bench) -> dict[str, float]:
    """From answered to arrived, one event at a time, each after the one before was recorded."""
    engine, dice = bench.engine, Random(7)  # noqa: S311  nothing is secret here
    bench.site.clear()
    took: list[float] = []
    with engine.serving():
        bench.warm_up()
        poster = Poster(engine.stack.port)
        bench.inbox.keep("/hooks/")
        for number in range(bench.sizes.idle):
            post = bench.singles[number % len(bench.singles)]
            posted = poster.post(post.request("127.0.0.1"))
            time.sleep(dice.uniform(SHORTEST, LONGEST))
            engine.settled(seconds=PATIENCE)
            [(event_id, arrived)] = bench.inbox.kept()
            if event_id != posted.event_id:
                raise RuntimeError(f"{event_id} arrived, and {posted.event_id} was posted.")
            took.append((arrived - posted.answered) / MS)
        poster.close()
    bench.site.clear()
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {"idle_p50_ms": cuts[49], "idle_p99_ms": cuts[98]}


def fan_out(bench: Bench) -> dict[str, float]:
    """One event to a thousand endpoints of a tenant: from answered to the last arrival, seconds."""
    engine, inbox = bench.engine, bench.inbox
    bench.site.clear()
    targets = bench.site.add_owners(1, FAN_OUT, lambda _, kind: inbox.url(f"/fan/{kind}"))
    bench.site.execute("update endpoints set filter = '{*}' where tenant_id = %s", [targets[0].tenant])
    request = Post(engine.key_of(targets[0].owner), ["order.paid"], PAYLOAD_BYTES).request("127.0.0.1")
    took = []
    with engine.serving():
        bench.site.renew()
        for _ in range(NOT_COUNTED + bench.sizes.fanned_out):
            inbox.keep("/fan/")
            goal = inbox.count() + FAN_OUT
            poster = Poster(engine.stack.port)  # a new one: web closes what is idle for long
            posted = poster.post(request)
            poster.close()
            engine.until(partial(_has_come, inbox, goal), "a fan-out", seconds=PATIENCE)
            engine.settled(seconds=PATIENCE)
            arrived = [at for event_id, at in inbox.kept() if event_id == posted.event_id]
            if len(arrived) != FAN_OUT:
                raise RuntimeError(f"{len(arrived)} of {FAN_OUT} requests arrived.")
            took.append((max(arrived) - posted.answered) / 1e9)
    bench.site.clear()
    return {"fanout_1000_s": statistics.median(took[NOT_COUNTED:])}


def _has_come(inbox: Inbox, goal: int) -> bool:
    return inbox.count() >= goal
