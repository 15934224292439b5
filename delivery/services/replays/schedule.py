"""Which replays have a step to take now, and when the next one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from delivery.ledger.replays import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.domain.ids import ReplayId
    from delivery.ledger.db.session import Ledger

# Few at once: those that waited longest come first, so that any number of replays share the workers.
JOB_BATCH_SIZE: Final = 8


class DueReplays(NamedTuple):
    """The replays that may take a step now, and how long until another may; None: no replay waits."""

    replay_ids: Sequence[ReplayId]
    next_due_in: timedelta | None


async def claim_due_replays(ledger: Ledger, *, lease: timedelta) -> DueReplays:
    """Claim replays that may take a step; each is due again after the lease if nothing is heard of it.

    Raises Unavailable.
    """
    async with ledger.transaction() as tx:
        due = await jobs.claim_due(tx, limit=JOB_BATCH_SIZE, lease=lease)
        return DueReplays(due, await jobs.read_next_due_delay(tx))
