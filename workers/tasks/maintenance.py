"""The relay's clock: partitions made ahead, counts checked, what is too old or owed to nobody ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from delivery import metrics, operational
from delivery.errors import Unavailable
from delivery.ledger import health, messages, partitions, sessions, sign_in_failures, upkeep
from delivery.ledger.journal import ENGINE, Entry
from delivery.model import Prefix, show_id
from retries.limit import FIRST_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.ledger import Ledger
    from delivery.ledger.upkeep import Expired
    from delivery.model import EndpointId

log = structlog.get_logger()

ROUND_SECONDS = 60.0
# For long enough that no clock of ours, however wrong, takes away what still counts.
VISITS_KEPT = timedelta(days=1)
_FULL = upkeep.AT_ONCE


@dataclass(frozen=True, slots=True)
class Ages:
    """How old idempotency keys, deliveries that are still owed, and refused messages become at most."""

    idempotency: timedelta
    delivery: timedelta
    message: timedelta = timedelta(days=90)


class Upkeep:
    """Does a round every minute, and buries deleted endpoints as soon as it hears of them."""

    def __init__(self, ledger: Ledger, ages: Ages, *, clock: Callable[[], datetime]) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._ages = ages
        self._clock = clock
        self._deleted: list[EndpointId] = []
        self._asked = asyncio.Event()

    def bury(self, endpoints: Sequence[EndpointId]) -> None:
        """Cancel, soon, what is still owed to these deleted endpoints."""
        if endpoints:
            self._deleted = list(endpoints)
            self._asked.set()

    async def run(self) -> None:
        """Keep up for ever; an outage of the ledger puts a round off."""
        next_round = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._asked.clear()
            try:
                await self._cancel()
                if loop.time() >= next_round:
                    await self._round()
                    next_round = loop.time() + ROUND_SECONDS
            except Unavailable as error:
                log.warning("upkeep.put_off", why=str(error))
                await asyncio.sleep(1)
            # What was asked for during the round is done at once: only the next turn forgets that it was.
            try:
                await asyncio.wait_for(self._asked.wait(), timeout=max(0.1, next_round - loop.time()))
            except TimeoutError:
                continue

    async def _round(self) -> None:
        async with self._ledger.transaction() as tx:
            made = await partitions.ensure(tx, now=self._clock())
        if made:
            log.info("partitions.made", names=made)
        await self._check_health()
        await self._expire()
        full = True
        while full:
            async with self._ledger.transaction() as tx:
                full = await upkeep.forget_idempotency_keys(tx, older_than=self._ages.idempotency) == _FULL
        await self._forget_visits()
        full = True
        while full:
            async with self._ledger.transaction() as tx:
                full = await messages.forget(tx, before=self._clock() - self._ages.message)

    async def _forget_visits(self) -> None:
        """Forget sessions and links that have ended, and failures to sign in that count no more."""
        before = self._clock() - VISITS_KEPT
        for forget in (sessions.forget, sign_in_failures.forget):
            full = True
            while full:
                async with self._ledger.transaction() as tx:
                    full = await forget(tx, before=before)

    async def _check_health(self) -> None:
        async with self._ledger.transaction() as tx:
            await health.ensure(tx, limit=FIRST_IN_FLIGHT)
            wrong = await health.recount(tx)
        if wrong:
            # Processes of an older release do not count; after a deploy that is all it may be.
            log.error(
                "endpoints.in_flight_was_wrong", endpoint_ids=[show_id(Prefix.ENDPOINT, id_) for id_ in wrong]
            )

    async def _expire(self) -> None:
        full = True
        while full:
            now = self._clock()
            async with self._ledger.transaction() as tx:
                expired = await upkeep.expire(tx, older_than=self._ages.delivery, now=now)
                loud = [_failed(one, now) for one in expired if not one.operational]
                await operational.tell(tx, loud, now=now)
            if expired:
                metrics.ended("expired", len(expired))
                log.warning("deliveries.expired", count=len(expired))
            full = len(expired) == _FULL

    async def _cancel(self) -> None:
        # Others may be named meanwhile; what an outage leaves undone is named again by the next scan.
        deleted, self._deleted = self._deleted, []
        full = bool(deleted)
        while full:
            async with self._ledger.transaction() as tx:
                cancelled = await upkeep.cancel_of_deleted(tx, deleted)
            metrics.ended("cancelled", cancelled)
            log.info("deliveries.cancelled", count=cancelled, reason="endpoint_deleted")
            full = cancelled == _FULL


def _failed(expired: Expired, now: datetime) -> Entry:
    return Entry(
        tenant_id=expired.tenant_id,
        what="delivery.failed",
        actor=ENGINE,
        at=now,
        reason="expired",
        endpoint_id=expired.endpoint_id,
        delivery_id=expired.delivery_id,
        details={"event_id": show_id(Prefix.EVENT, expired.event_id), "attempts": expired.attempts},
    )
