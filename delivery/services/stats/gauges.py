"""Sets the ledger's gauges: due and held deliveries, partitions, expiry dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.ledger.stats import gauges
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger.db.session import Ledger


async def update_ledger_gauges(ledger: Ledger, *, now: datetime) -> None:
    """Read the ledger's state and set its gauges. Raises Unavailable."""
    async with ledger.transaction() as tx:
        state = await gauges.read(tx, now=now)
    metrics.set_ledger_gauges(
        oldest=state.oldest_due_seconds,
        held=state.held_deliveries,
        partitions=state.partition_days_ahead,
        expiry=state.expiry_timestamps,
    )
