"""Cost of held deliveries for the relay, as a measurement with a table and no figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import make_url

from benchmarks import held_deliveries
from tests.support.postgres import DatabaseServer

if TYPE_CHECKING:
    from benchmarks.suite import BenchSuite

ROUNDS = 30


def measure_held(bench: BenchSuite) -> dict[str, float]:
    """Compare claims with few and with many held deliveries, on two separate databases."""
    server = DatabaseServer(make_url(bench.engine.stack.database_url))
    bench.tables.append(held_deliveries.build_table(held_deliveries.run_cases(server, ROUNDS, bench.status)))
    return {}
