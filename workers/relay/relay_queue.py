"""One priority's queue as the relay sees it: which endpoints have something due, and how much is queued."""

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
    """The fair queue of one priority, its window, and the publisher of its claims."""

    def __init__(self, config: ClaimConfig, publisher: Publisher, *, window_seconds: float) -> None:
        """At most `window_seconds` of work may wait in the broker's queue."""
        self.config = config
        self.publisher = publisher
        self.fair_queue = FairQueue()
        self.window = QueueWindow(window_seconds)
        # Claims came back unstarted: the broker's queue has no consumer.
        self.is_clogged = False
        # Merged only before the next claim: a running claim did not see these deliveries, and would drop
        # their endpoints from the fair queue when it ends.
        self._notified: set[tuple[TenantId, EndpointId]] = set()

    def add_notified(self, endpoints: Iterable[tuple[TenantId, EndpointId]]) -> None:
        """Remember endpoints that a notification names."""
        self._notified.update(endpoints)

    def merge_notified(self, now: float) -> None:
        """Add the notified endpoints, and those whose delay is over, to the fair queue."""
        self.fair_queue.add_due(self._notified)
        self._notified.clear()
        self.fair_queue.promote_delayed(now)

    def observe_waiting(self, waiting: int, *, now: float) -> None:
        """Update the window with the number of deliveries that wait in the broker's queue."""
        self.window = self.window.observe_waiting(waiting, now=now)

    def record_claims(
        self, quotas: list[Quota], claim_round: ClaimRound, *, now: float, horizon_seconds: float
    ) -> None:
        """Take in a round of claims; endpoints held for less than the horizon are looked at again then."""
        # A scan finds those that are held for longer.
        retry_at = {
            endpoint: now + wait
            for endpoint, wait in claim_round.retry_in_seconds.items()
            if wait <= horizon_seconds
        }
        self.fair_queue.record_served(quotas, claim_round.counts_by_endpoint, retry_at)
        self.window = self.window.record_queued(claim_round.delivery_count)
