"""`python -m benchmarks.step_latency`: latency of one delivery on an idle engine, step by step.

The engine's debug log says when each step was done. Events are posted one at a time, so that log lines can be
assigned to events by their order. Client and receiver use the same clock. Under load, use the ledger's times
of the throughput measurements instead.
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
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
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
MIN_FOLLOWED_SHARE = 0.9  # of the events must be found completely
NANOSECONDS_PER_MS = 1e6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The steps of a delivery: name, the log event or time that ends it, and a description.
STEPS = (
    ("accept", "accept.began", "POST sent → its group begins"),
    ("commit", "accept.committed", "→ committed"),
    ("notify", "relay.notified", "→ the relay is notified"),
    ("claim", "relay.claimed", "→ claimed"),
    ("consume", "claim.received", "→ a worker has the message"),
    ("load", "claim.started", "→ started and loaded"),
    ("sign", "delivery.signed", "→ signed"),
    ("send", "arrived", "→ the receiver has the request"),
    ("answer", "delivery.attempted", "→ answered and decided"),
    ("record", "record.committed", "→ committed"),
)
# Concurrent steps, which are not part of the sum.
SIDE_STEPS = (
    ("publish", "relay.claimed", "relay.published", "claimed → confirmed by the broker"),
    ("reply", "accept.committed", "answered", "committed → the client has its answer"),
    ("delivery", "answered", "arrived", "the client has its answer → the receiver has the request"),
)


@dataclass(frozen=True, slots=True)
class DeliveryPath:
    """When an event was posted, and when each step ended (nanoseconds since 1970)."""

    sent_at: int
    times: Mapping[str, int]

    def compute_step_ms(self) -> list[float]:
        """Milliseconds of each step.

        A log line may be written after the next step has begun elsewhere. No step counts as negative, and
        the sum is the total.
        """
        took, until = [], self.sent_at
        for _, name, _ in STEPS:
            reached = max(until, self.times[name])
            took.append((reached - until) / NANOSECONDS_PER_MS)
            until = reached
        return took


def measure_paths(bench: BenchSuite, events: int = EVENTS) -> list[DeliveryPath]:
    """Post events one at a time, with debug logs on."""
    engine = bench.engine
    bench.site.reset()
    try:
        with engine.override_settings(**DEBUG):
            engine.restart_web()
            with engine.run_processes():
                bench.warm_up()
                offsets = {name: len(engine.stack.read_log(name)) for name in PROCESSES}
                posted = _post_events(bench, events)
            lines = read_lines("".join(engine.stack.read_log(name)[offsets[name] :] for name in PROCESSES))
    finally:
        engine.restart_web()
        bench.site.reset()
    ends = [path.sent_at for path in posted[1:]] + [posted[-1].sent_at + round(TIMEOUT_SECONDS * 1e9)]
    followed = [
        follow_event(posted_path, lines, before=end) for posted_path, end in zip(posted, ends, strict=True)
    ]
    paths = [path for path in followed if path is not None]
    if len(paths) < MIN_FOLLOWED_SHARE * events:
        raise RuntimeError(f"Only {len(paths)} of {events} events can be followed in the logs.")
    return paths


def build_table(paths: Sequence[DeliveryPath]) -> Table:
    """The percentiles of each step, in milliseconds."""
    table = Table(
        title=f"One delivery on an idle engine: {len(paths)} events, ms", title_justify="left",
        caption="Includes the cost of debug logs.", caption_justify="left",
    )  # fmt: skip
    for heading in ("step", "from the previous step", "p50", "p90", "p99"):
        table.add_column(heading, justify="right" if heading.startswith("p") else "left")
    by_step = zip(*(path.compute_step_ms() for path in paths), strict=True)
    for (name, _, what), took in zip(STEPS, by_step, strict=True):
        table.add_row(name, what, *_format_percentiles(took))
    table.add_row(
        "all", "POST sent → recorded", *_format_percentiles([sum(path.compute_step_ms()) for path in paths])
    )
    table.add_section()
    for name, first, last, what in SIDE_STEPS:
        table.add_row(
            name,
            what,
            *_format_percentiles(
                [(path.times[last] - path.times[first]) / NANOSECONDS_PER_MS for path in paths]
            ),
        )
    return table


def run_measurement(bench: BenchSuite) -> dict[str, float]:
    """Run as a measurement with a table and no figure."""
    bench.tables.append(build_table(measure_paths(bench)))
    return {}


def _post_events(bench: BenchSuite, events: int) -> list[DeliveryPath]:
    engine, rng = bench.engine, Random(11)  # noqa: S311  not a secret
    poster = SequentialClient(engine.stack.port)
    bench.inbox.start_recording("/hooks/")
    posted = []
    for number in range(events):
        post = bench.singles[number % len(bench.singles)]
        posted_event = poster.post(post.to_bytes("127.0.0.1"))
        time.sleep(rng.uniform(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
        engine.wait_until_delivered(seconds=TIMEOUT_SECONDS)
        [(_, arrived)] = bench.inbox.read_recorded()
        posted.append(
            DeliveryPath(posted_event.sent_ns, {"answered": posted_event.answered_ns, "arrived": arrived})
        )
    poster.close()
    return posted


def read_lines(logs: str) -> dict[str, list[int]]:
    """The times of log lines by event name, in order. Empty claims are left out."""
    found: dict[str, list[int]] = defaultdict(list)
    for text in logs.splitlines():
        try:
            line = json.loads(text)
            moment = datetime.fromisoformat(line["timestamp"]) - _EPOCH
        except (ValueError, KeyError, TypeError):  # a line of a library, or an incomplete one
            continue
        if line.get("deliveries") != 0 and line.get("claims") != 0:
            found[line["event"]].append(moment // timedelta(microseconds=1) * 1_000)
    return {name: sorted(moments) for name, moments in found.items()}


def follow_event(
    posted_path: DeliveryPath, lines: Mapping[str, Sequence[int]], *, before: int
) -> DeliveryPath | None:
    """Follow an event through lines logged before the next one was posted; None if one is missing."""
    at = dict(posted_path.times)
    names = {name for _, name, _ in STEPS} | {"relay.published"}
    for name in names - at.keys():
        moments = lines.get(name, ())
        # Times in logs are whole microseconds.
        place = bisect_left(moments, posted_path.sent_at // 1_000 * 1_000)
        if place == len(moments) or moments[place] >= before:
            return None
        at[name] = moments[place]
    return replace(posted_path, times=at)


def _format_percentiles(took: Sequence[float]) -> list[str]:
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return [f"{cuts[which - 1]:.1f}" for which in (50, 90, 99)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_latency", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="events to post")
    arguments = parser.parse_args()
    console = Console()
    with console.status("Starting PostgreSQL and RabbitMQ …") as status, run_servers() as stack:
        bench = BenchSuite(stack, BenchSizes.short(), status)
        status.update(f"Following {arguments.events} events …")
        paths = measure_paths(bench, arguments.events)
    console.print(build_table(paths))


if __name__ == "__main__":
    main()
