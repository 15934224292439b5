"""What the relay knows of one lane: who has something due in it, and how much of it stands in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.backlog import Backlog
from workers.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from delivery.dispatch.claims import Claimed, ClaimTerms, Quota
    from delivery.model import EndpointId, TenantId
    from workers.broker import Publisher


class Line:
    """One lane's line: its backlog, its window, and where its claims are published."""

    def __init__(self, terms: ClaimTerms, publisher: Publisher, *, seconds: float) -> None:
        """Nothing is known to be due yet; `seconds` of work may stand in the queue."""
        self.terms = terms
        self.publisher = publisher
        self.backlog = Backlog()
        self.window = Window(seconds)
        # Claims came back from a queue that nobody reads.
        self.clogged = False
        # Kept apart until the next claim: one that is under way did not see what is heard of only now, and
        # would drop the endpoint from the backlog when it ends.
        self._heard: set[tuple[TenantId, EndpointId]] = set()

    def hear(self, endpoints: Iterable[tuple[TenantId, EndpointId]]) -> None:
        """Somebody says that these endpoints have something due."""
        self._heard.update(endpoints)

    def gather(self, now: float) -> None:
        """Note what was heard, and those whose time has come."""
        self.backlog.note(self._heard)
        self._heard.clear()
        self.backlog.ripen(now)

    def look(self, waiting: int, *, now: float) -> None:
        """So many deliveries stand in the queue now."""
        self.window = self.window.seen(waiting, at=now)

    def served(self, quotas: list[Quota], claimed: Claimed, *, now: float, soon: float) -> None:
        """A round of claims is over; who is to be looked at again within `soon` seconds is noted for it."""
        # What is held for longer than that, the scan finds when its time has come.
        later = {endpoint: now + wait for endpoint, wait in claimed.later.items() if wait <= soon}
        self.backlog.served(quotas, claimed.by_endpoint, later)
        self.window = self.window.added(claimed.size)
