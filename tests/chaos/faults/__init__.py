"""Every fault there is, by the part of the engine that it strikes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.faults import broker, clock_and_dns, database, kill_points, network, processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.fault import Fault

# A failover comes last of all: what strikes the database after it strikes another one.
ALL_FAULTS: Sequence[Fault] = (
    *processes.FAULTS,
    *kill_points.FAULTS,
    *broker.FAULTS,
    *database.FAULTS,
    *network.FAULTS,
    *clock_and_dns.FAULTS,
)
