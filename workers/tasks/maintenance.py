"""The relay's clock: partitions made ahead, counts checked, what is too old or owed to nobody ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.db import partitions
from delivery.ledger.queue import endpoint_health, expiry
from delivery.ledger.records import dead_letters, login_failures, sessions
from delivery.ledger.records.journal import ENGINE_ACTOR, JournalEntry
from delivery.pipeline import system_events
from delivery.telemetry import metrics
from retries.limit import INITIAL_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.expiry import ExpiredDelivery

log = structlog.get_logger()

ROUND_INTERVAL_SECONDS = 60.0
# For long enough that no clock of ours, however wrong, takes away what still counts.
ENDED_SESSION_RETENTION = timedelta(days=1)
_BATCH_SIZE = expiry.EXPIRY_BATCH_SIZE


@dataclass(frozen=True, slots=True)
class MaxAges:
    """How old idempotency keys, deliveries that are still owed, and refused messages become at most."""

    idempotency: timedelta
    delivery: timedelta
    message: timedelta = timedelta(days=90)


class MaintenanceLoop:
    """Does a round every minute, and buries deleted endpoints as soon as it hears of them."""

    def __init__(self, ledger: Ledger, max_ages: MaxAges, *, clock: Callable[[], datetime]) -> None:
        """Nothing runs until `run`."""
        self._ledger = ledger
        self._max_ages = max_ages
        self._clock = clock
        self._deleted_endpoints: list[EndpointId] = []
        self._requested = asyncio.Event()

    def schedule_cancellation(self, endpoint_ids: Sequence[EndpointId]) -> None:
        """Cancel, soon, what is still owed to these deleted endpoints."""
        if endpoint_ids:
            self._deleted_endpoints = list(endpoint_ids)
            self._requested.set()

    async def run(self) -> None:
        """Keep up for ever; an outage of the ledger puts a round off."""
        next_round = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._requested.clear()
            try:
                await self._cancel_deleted()
                if loop.time() >= next_round:
                    await self._run_round()
                    next_round = loop.time() + ROUND_INTERVAL_SECONDS
            except Unavailable as error:
                log.warning("upkeep.put_off", why=str(error))
                await asyncio.sleep(1)
            # What was asked for during the round is done at once: only the next turn forgets that it was.
            try:
                await asyncio.wait_for(self._requested.wait(), timeout=max(0.1, next_round - loop.time()))
            except TimeoutError:
                continue

    async def _run_round(self) -> None:
        async with self._ledger.transaction() as tx:
            made = await partitions.ensure_partitions(tx, now=self._clock())
        if made:
            log.info("partitions.made", names=made)
        await self._check_health()
        await self._expire_deliveries()
        full = True
        while full:
            async with self._ledger.transaction() as tx:
                full = (
                    await expiry.delete_idempotency_keys(tx, older_than=self._max_ages.idempotency)
                    == _BATCH_SIZE
                )
        await self._delete_ended_sessions()
        full = True
        while full:
            async with self._ledger.transaction() as tx:
                full = await dead_letters.delete_expired(tx, before=self._clock() - self._max_ages.message)

    async def _delete_ended_sessions(self) -> None:
        """Forget sessions and links that have ended, and failures to sign in that count no more."""
        before = self._clock() - ENDED_SESSION_RETENTION
        for forget in (sessions.delete_expired, login_failures.delete_expired):
            full = True
            while full:
                async with self._ledger.transaction() as tx:
                    full = await forget(tx, before=before)

    async def _check_health(self) -> None:
        async with self._ledger.transaction() as tx:
            await endpoint_health.ensure(tx, limit=INITIAL_IN_FLIGHT)
            wrong = await endpoint_health.recount_in_flight(tx)
        if wrong:
            # Processes of an older release do not count; after a deploy that is all it may be.
            log.error(
                "endpoints.in_flight_was_wrong",
                endpoint_ids=[format_id(Prefix.ENDPOINT, id_) for id_ in wrong],
            )

    async def _expire_deliveries(self) -> None:
        full = True
        while full:
            now = self._clock()
            async with self._ledger.transaction() as tx:
                expired = await expiry.expire_deliveries(tx, older_than=self._max_ages.delivery, now=now)
                loud = [_build_failed_entry(one, now) for one in expired if not one.operational]
                await system_events.publish_system_events(tx, loud, now=now)
            if expired:
                metrics.count_ended("expired", len(expired))
                log.warning("deliveries.expired", count=len(expired))
            full = len(expired) == _BATCH_SIZE

    async def _cancel_deleted(self) -> None:
        # Others may be named meanwhile; what an outage leaves undone is named again by the next scan.
        deleted, self._deleted_endpoints = self._deleted_endpoints, []
        full = bool(deleted)
        while full:
            async with self._ledger.transaction() as tx:
                cancelled = await expiry.cancel_for_deleted_endpoints(tx, deleted)
            metrics.count_ended("cancelled", cancelled)
            log.info("deliveries.cancelled", count=cancelled, reason="endpoint_deleted")
            full = cancelled == _BATCH_SIZE


def _build_failed_entry(expired: ExpiredDelivery, now: datetime) -> JournalEntry:
    return JournalEntry(
        tenant_id=expired.tenant_id,
        action="delivery.failed",
        actor=ENGINE_ACTOR,
        at=now,
        reason="expired",
        endpoint_id=expired.endpoint_id,
        delivery_id=expired.delivery_id,
        details={"event_id": format_id(Prefix.EVENT, expired.event_id), "attempts": expired.attempts},
    )
