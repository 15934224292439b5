"""OpenTelemetry is an extra: without it everything runs, and an error says how to install it."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
    sys.modules[name] = None  # as if it were not installed
import workers.processes.web, workers.worker.actors, workers.processes.relay
from delivery.bootstrap import check_tracing_available, build_tracer
from delivery.config import Settings
from delivery.domain.errors import Misconfigured
assert build_tracer(Settings(), "web") is None
try:
    check_tracing_available(Settings(opentelemetry=True))
except Misconfigured as error:
    print(error)
"""
UNWANTED = """
import sys
import workers.main, workers.processes.web, workers.worker.actors, workers.processes.relay
from delivery.bootstrap import build_tracer
from delivery.config import Settings
assert build_tracer(Settings(), "worker") is None
print(*sorted(name for name in sys.modules if name.startswith("opentelemetry.exporter")))
"""


def ran(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_without_the_extra_everything_runs_and_whoever_wants_it_is_told() -> None:
    assert ran(WITHOUT) == "WAYBILL_OPENTELEMETRY needs its libraries: pip install 'waybill-engine[otel]'"


def test_where_nobody_wants_it_nothing_of_it_is_loaded() -> None:
    assert ran(UNWANTED) == ""
