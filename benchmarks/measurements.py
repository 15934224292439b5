"""All measurements: their figures, targets, and usual duration on two cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import step_latency as steps
from benchmarks.measures import held_deliveries, isolation, latency, memory, scaling, throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.suite import BenchSuite


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: its key, label, target, and whether the target is an upper or a lower bound."""

    key: str
    label: str
    target: float | None = None
    at_most: bool = False
    digits: int = 0

    @property
    def target_text(self) -> str:
        """The target as text."""
        if self.target is None:
            return ""
        return f"{'≤' if self.at_most else '≥'} {self.target:,.{self.digits if self.target < 1 else 0}f}"

    def format_value(self, value: float) -> str:
        """Write a value of this figure."""
        return f"{value:,.{self.digits}f}"

    def is_met(self, value: float) -> bool:
        """Whether a value meets the target."""
        if self.target is None:
            return True
        return value <= self.target if self.at_most else value >= self.target


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement; `minutes` is its duration in the short form (0: not part of it) and in the full form.

    `runner` returns values by key of the figure: one value, or one for each alternating pair.
    """

    name: str
    description: str
    figures: tuple[Figure, ...]
    minutes: tuple[float, float]
    runner: Callable[[BenchSuite], Mapping[str, float] | Mapping[str, list[float]]]

    @property
    def is_short(self) -> bool:
        """Whether it is part of the short form."""
        return self.minutes[0] > 0


WORKER_MEMORY = Figure("worker_mib", "a worker process under full load, MiB (PSS)", 200, at_most=True)
RATIO = Figure("ratio_to_naive", "draining, ratio to naive", digits=1)

MEASUREMENTS = (
    Measurement(
        "e2e",
        "single-event POST → recorded success, 50 endpoints of 10 tenants, 1 KiB",
        (Figure("e2e_per_s", "single POST → recorded success, events/s", 1_800), WORKER_MEMORY),
        (0.6, 1.5),
        throughput.measure_single_posts,
    ),
    Measurement(
        "batch",
        "the same in batches of 100",
        (
            Figure("e2e_batch_per_s", "POST of 100 → recorded success, events/s", 3_000),
            WORKER_MEMORY,
        ),
        (0.9, 2.5),
        throughput.measure_batch_posts,
    ),
    Measurement(
        "drain",
        "a backlog, two worker processes",
        (Figure("drain_per_s", "draining a backlog, deliveries/s", 4_000), WORKER_MEMORY),
        (0.8, 2.5),
        throughput.measure_drain,
    ),
    Measurement(
        "naive",
        "a backlog for the naive baseline, two worker processes",
        (Figure("naive_per_s", "naive baseline, deliveries/s"), RATIO),
        (0.5, 0.7),
        throughput.measure_naive_baseline,
    ),
    Measurement(
        "idle",
        "one event at a time: answered → arrived",
        (
            Figure("idle_p50_ms", "idle: answered → arrived, p50 ms", 15, at_most=True, digits=1),
            Figure("idle_p99_ms", "idle: answered → arrived, p99 ms", 50, at_most=True, digits=1),
        ),
        (0.7, 0.7),
        latency.measure_idle_latency,
    ),
    Measurement(
        "fanout",
        "one event to 1,000 endpoints, answered → last arrival",
        (Figure("fanout_1000_s", "one event to 1,000 endpoints, s", 1, at_most=True, digits=2),),
        (0.3, 0.3),
        latency.measure_fan_out,
    ),
    Measurement(
        "stalled",
        "one worker process with 2,000 requests that are never answered",
        (Figure("worker_stalled_mib", "a worker process with 2,000 stalled, MiB (PSS)", 400, at_most=True),),
        (0.6, 0.6),
        memory.measure_stalled_memory,
    ),
    Measurement(
        "bodies",
        "a backlog of bodies of 64 KiB",
        (Figure("body_mib_per_s", "bodies of 64 KiB, MiB/s", 100),),
        (0, 0.8),
        throughput.measure_large_bodies,
    ),
    Measurement(
        "steps",
        "latency of one delivery on an idle engine, step by step",
        (),
        (0.5, 0.5),
        steps.run_measurement,
    ),
    Measurement(
        "noisy",
        "a quiet tenant while another one has 500,000 waiting",
        (
            Figure("noisy_p99_ms", "quiet tenant: answered → arrived, p99 ms", 1_000, at_most=True),
            Figure("noisy_within_500ms", "quiet tenant: share within 500 ms", 0.95, digits=3),
        ),
        (0, 3),
        isolation.measure_noisy_neighbour,
    ),
    Measurement(
        "slow",
        "healthy events/s while a fifth of all goes to endpoints that never answer, relative to without",
        (Figure("slow_ratio", "healthy endpoints while others stall, ratio", 0.9, digits=2),),
        (0, 4),
        isolation.measure_stalled_endpoints,
    ),
    Measurement(
        "endpoints",
        "draining to 10,000 endpoints of 1,000 tenants, relative to 50 of 10",
        (Figure("endpoints_ratio", "10,000 endpoints to 50, ratio", 0.8, digits=2),),
        (0, 2.5),
        scaling.measure_endpoints,
    ),
    Measurement(
        "backlog",
        "draining with 1,000,000 waiting, relative to few",
        (Figure("backlog_ratio", "1,000,000 waiting to few, ratio", 0.9, digits=2),),
        (0, 4),
        scaling.measure_backlog,
    ),
    Measurement(
        "history",
        "draining with 5,000,000 finished deliveries, relative to none",
        (Figure("history_ratio", "5,000,000 finished to none, ratio", 0.9, digits=2),),
        (0, 10),
        scaling.measure_history,
    ),
    Measurement(
        "held",
        "the relay's claim with 500,000 held deliveries, relative to 500",
        (),
        (0, 3),
        held_deliveries.measure_held,
    ),
)
FIGURES = tuple(dict.fromkeys(figure for measure in MEASUREMENTS for figure in measure.figures))
# In the order of the JSON; figures that were not measured are null.
KEYS = (
    "e2e_per_s", "e2e_batch_per_s", "drain_per_s", "idle_p50_ms", "idle_p99_ms", "fanout_1000_s",
    "noisy_p99_ms", "noisy_within_500ms", "slow_ratio", "backlog_ratio", "history_ratio", "endpoints_ratio",
    "worker_mib", "worker_stalled_mib", "body_mib_per_s", "naive_per_s", "ratio_to_naive",
)  # fmt: skip
