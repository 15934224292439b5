"""`python -m benchmarks.step_latency`: where the time of one delivery goes, step by step, when idle.

The engine's processes run with debug lines, which say when each step was done; events are posted one at a
time, so that the lines of one belong together by their order. Times of the client and of the receiver are
from the same clock. Under load lines cannot be told apart: for that, see the ledger's times beside the load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251  a benchmark brings its own dice, with a seed
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.sequential_client import SequentialClient
from benchmarks.suite import BenchSizes, BenchSuite
from tests.support.stack import run_servers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EVENTS = 100
PROCESSES = ("web", "relay", "worker")
DEBUG = {"WAYBILL_LOG_LEVEL": "debug", "WAYBILL_LOG_FORMAT": "json"}
TIMEOUT_SECONDS = 30.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.12
MIN_FOLLOWED_SHARE = 0.9  # of the events must be seen as a whole
NANOSECONDS_PER_MS = 1e6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The way of a delivery: the name of each step, what ends it, and what that is.
STEPS = (
    ("accept", "accept.began", "POST sent → its group begins"),
    ("commit", "accept.committed", "→ committed"),
    ("notify", "relay.notified", "→ the relay has heard of it"),
    ("claim", "relay.claimed", "→ claimed"),
    ("consume", "claim.received", "→ a worker has the message"),
    ("load", "claim.started", "→ started and loaded"),
    ("sign", "delivery.signed", "→ signed"),
    ("send", "arrived", "→ the receiver has the request"),
    ("answer", "delivery.attempted", "→ answered and decided"),
    ("record", "record.committed", "→ committed"),
)
# What happens beside it, and is not part of the sum.
SIDE_STEPS = (
    ("publish", "relay.claimed", "relay.published", "claimed → confirmed by the broker"),
    ("reply", "accept.committed", "answered", "committed → the client has its answer"),
    ("delivery", "answered", "arrived", "the client has its answer → the receiver has the request"),
)


@dataclass(frozen=True, slots=True)
class DeliveryPath:
    """When an event was sent, and when each thing happened to it (nanoseconds since 1970)."""

    sent_at: int
    times: Mapping[str, int]

    def compute_step_ms(self) -> list[float]:
        """How long each step took, milliseconds.

        A line may be written a little after the next step has begun elsewhere: no step takes less than
        nothing, and all together take as long as the whole.
        """
        took, until = [], self.sent_at
        for _, name, _ in STEPS:
            reached = max(until, self.times[name])
            took.append((reached - until) / NANOSECONDS_PER_MS)
            until = reached
        return took


def measure_paths(bench: BenchSuite, events: int = EVENTS) -> list[DeliveryPath]:
    """Post so many events, one at a time, through processes that tell what they do."""
    engine = bench.engine
    bench.site.reset()
    try:
        with engine.override_settings(**DEBUG):
            engine.restart_web()
            with engine.run_processes():
                bench.warm_up()
                begin = {name: len(engine.stack.read_log(name)) for name in PROCESSES}
                posted = _post_events(bench, events)
            lines = read_lines("".join(engine.stack.read_log(name)[begin[name] :] for name in PROCESSES))
    finally:
        engine.restart_web()
        bench.site.reset()
    ends = [way.sent_at for way in posted[1:]] + [posted[-1].sent_at + round(TIMEOUT_SECONDS * 1e9)]
    followed = [follow_event(known, lines, before=end) for known, end in zip(posted, ends, strict=True)]
    ways = [way for way in followed if way is not None]
    if len(ways) < MIN_FOLLOWED_SHARE * events:
        raise RuntimeError(f"Of {events} events only {len(ways)} can be followed in the logs.")
    return ways


def build_table(ways: Sequence[DeliveryPath]) -> Table:
    """Percentiles of each step, in milliseconds."""
    shown = Table(
        title=f"One delivery's way when idle: {len(ways)} events, ms", title_justify="left",
        caption="With debug lines written; their cost is in it.", caption_justify="left",
    )  # fmt: skip
    for heading in ("step", "from the step before", "p50", "p90", "p99"):
        shown.add_column(heading, justify="right" if heading.startswith("p") else "left")
    by_step = zip(*(way.compute_step_ms() for way in ways), strict=True)
    for (name, _, what), took in zip(STEPS, by_step, strict=True):
        shown.add_row(name, what, *_format_percentiles(took))
    shown.add_row(
        "all", "POST sent → recorded", *_format_percentiles([sum(way.compute_step_ms()) for way in ways])
    )
    shown.add_section()
    for name, first, last, what in SIDE_STEPS:
        shown.add_row(
            name,
            what,
            *_format_percentiles([(way.times[last] - way.times[first]) / NANOSECONDS_PER_MS for way in ways]),
        )
    return shown


def run_measurement(bench: BenchSuite) -> dict[str, float]:
    """As one of the measurements: a table, and no figure."""
    bench.tables.append(build_table(measure_paths(bench)))
    return {}


def _post_events(bench: BenchSuite, events: int) -> list[DeliveryPath]:
    engine, dice = bench.engine, Random(11)  # noqa: S311  nothing is secret here
    poster = SequentialClient(engine.stack.port)
    bench.inbox.start_recording("/hooks/")
    posted = []
    for number in range(events):
        post = bench.singles[number % len(bench.singles)]
        one = poster.post(post.to_bytes("127.0.0.1"))
        time.sleep(dice.uniform(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
        engine.wait_until_delivered(seconds=TIMEOUT_SECONDS)
        [(_, arrived)] = bench.inbox.read_recorded()
        posted.append(DeliveryPath(one.sent_ns, {"answered": one.answered_ns, "arrived": arrived}))
    poster.close()
    return posted


def read_lines(logs: str) -> dict[str, list[int]]:
    """When lines of each name were written, in order. Claims that took nothing are left out."""
    found: dict[str, list[int]] = defaultdict(list)
    for text in logs.splitlines():
        try:
            line = json.loads(text)
            moment = datetime.fromisoformat(line["timestamp"]) - _EPOCH
        except (ValueError, KeyError, TypeError):  # a library's line, or half a one
            continue
        if line.get("deliveries") != 0 and line.get("claims") != 0:
            found[line["event"]].append(moment // timedelta(microseconds=1) * 1_000)
    return {name: sorted(moments) for name, moments in found.items()}


def follow_event(
    known: DeliveryPath, lines: Mapping[str, Sequence[int]], *, before: int
) -> DeliveryPath | None:
    """The way of an event, from lines written before the next one was sent; None if one is missing."""
    at = dict(known.times)
    names = {name for _, name, _ in STEPS} | {"relay.published"}
    for name in names - at.keys():
        moments = lines.get(name, ())
        # Log times have whole microseconds.
        place = bisect_left(moments, known.sent_at // 1_000 * 1_000)
        if place == len(moments) or moments[place] >= before:
            return None
        at[name] = moments[place]
    return replace(known, times=at)


def _format_percentiles(took: Sequence[float]) -> list[str]:
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return [f"{cuts[which - 1]:.1f}" for which in (50, 90, 99)]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_latency", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="how many are posted")
    given = parser.parse_args()
    console = Console()
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = BenchSuite(stack, BenchSizes.short(), status)
        status.update(f"Following {given.events} events …")
        ways = measure_paths(bench, given.events)
    console.print(build_table(ways))


if __name__ == "__main__":
    main()
