"""What the relay knows of one lane: who has something due in it, and how much of it stands in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.relay.fair_queue import FairQueue
from workers.relay.window import QueueWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.pipeline.claiming import ClaimConfig, ClaimRound, Quota
    from workers.broker.broker import Publisher


class RelayQueue:
    """One lane's line: its backlog, its window, and where its claims are published."""

    def __init__(self, config: ClaimConfig, publisher: Publisher, *, window_seconds: float) -> None:
        """Nothing is known to be due yet; `seconds` of work may stand in the queue."""
        self.config = config
        self.publisher = publisher
        self.fair_queue = FairQueue()
        self.window = QueueWindow(window_seconds)
        # Claims came back from a queue that nobody reads.
        self.is_clogged = False
        # Kept apart until the next claim: one that is under way did not see what is heard of only now, and
        # would drop the endpoint from the backlog when it ends.
        self._notified: set[tuple[TenantId, EndpointId]] = set()

    def add_notified(self, endpoints: Iterable[tuple[TenantId, EndpointId]]) -> None:
        """Somebody says that these endpoints have something due."""
        self._notified.update(endpoints)

    def merge_notified(self, now: float) -> None:
        """Note what was heard, and those whose time has come."""
        self.fair_queue.add_due(self._notified)
        self._notified.clear()
        self.fair_queue.promote_delayed(now)

    def observe_waiting(self, waiting: int, *, now: float) -> None:
        """So many deliveries stand in the queue now."""
        self.window = self.window.observe_waiting(waiting, now=now)

    def record_claims(
        self, quotas: list[Quota], claim_round: ClaimRound, *, now: float, horizon_seconds: float
    ) -> None:
        """A round of claims is over; who is to be looked at again within `soon` seconds is noted for it."""
        # What is held for longer than that, the scan finds when its time has come.
        later = {
            endpoint: now + wait
            for endpoint, wait in claim_round.retry_in_seconds.items()
            if wait <= horizon_seconds
        }
        self.fair_queue.record_served(quotas, claim_round.counts_by_endpoint, later)
        self.window = self.window.record_queued(claim_round.delivery_count)
