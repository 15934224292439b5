"""Maintenance: makes partitions ahead, checks counters, and ends or deletes what is too old.

Every deletion goes in batches, each in a transaction of its own. All functions raise Unavailable when the
ledger does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.db import partitions
from delivery.ledger.queue import endpoint_health, expiry
from delivery.ledger.records import dead_letters, login_failures, sessions
from delivery.ledger.records.journal import JournalEntry
from delivery.log import get_logger
from delivery.pipeline import system_events
from delivery.telemetry import metrics
from retries.limit import INITIAL_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.expiry import ExpiredDelivery

log = get_logger()

# So long that no process with a wrong clock deletes a session that is still valid.
ENDED_SESSION_RETENTION = timedelta(days=1)
_BATCH_SIZE = expiry.EXPIRY_BATCH_SIZE


@dataclass(frozen=True, slots=True)
class MaxAges:
    """How old idempotency keys, deliveries that are still owed, and dead letters may become."""

    idempotency: timedelta
    delivery: timedelta
    message: timedelta = timedelta(days=90)


class MaintenanceService:
    """Keeps the ledger in order. Several relays may run it at the same time."""

    def __init__(self, ledger: Ledger, max_ages: MaxAges, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._max_ages = max_ages
        self._clock = clock

    async def run_round(self) -> None:
        """Do everything that is due by now."""
        async with self._ledger.transaction() as tx:
            created = await partitions.ensure_partitions(tx, now=self._clock())
        if created:
            log.info("partitions.created", names=created)
        await self._check_health_counters()
        await self._expire_deliveries()
        await self._delete_in_batches(self._delete_idempotency_keys)
        await self._delete_in_batches(self._delete_sessions)
        await self._delete_in_batches(self._delete_login_failures)
        await self._delete_in_batches(self._delete_dead_letters)

    async def cancel_for_deleted_endpoints(self, endpoint_ids: Sequence[EndpointId]) -> None:
        """Cancel what is still owed to deleted endpoints."""
        has_more = bool(endpoint_ids)
        while has_more:
            async with self._ledger.transaction() as tx:
                cancelled = await expiry.cancel_for_deleted_endpoints(tx, endpoint_ids)
            metrics.count_ended("cancelled", cancelled)
            log.info("deliveries.cancelled", count=cancelled, reason="endpoint_deleted")
            has_more = cancelled == _BATCH_SIZE

    async def _check_health_counters(self) -> None:
        async with self._ledger.transaction() as tx:
            await endpoint_health.ensure(tx, limit=INITIAL_IN_FLIGHT)
            corrected = await endpoint_health.recount_in_flight(tx)
        if corrected:
            # Expected only after a deploy: processes of older releases do not count what is in flight.
            log.error(
                "endpoints.in_flight_corrected",
                endpoint_ids=[format_id(Prefix.ENDPOINT, endpoint_id) for endpoint_id in corrected],
            )

    async def _expire_deliveries(self) -> None:
        """Fail what has been owed for too long, and publish its system events in the same transaction."""
        has_more = True
        while has_more:
            now = self._clock()
            async with self._ledger.transaction() as tx:
                expired = await expiry.expire_deliveries(tx, older_than=self._max_ages.delivery, now=now)
                entries = [
                    _build_failed_entry(delivery, now) for delivery in expired if not delivery.operational
                ]
                await system_events.publish_system_events(tx, entries, now=now)
            if expired:
                metrics.count_ended("expired", len(expired))
                log.warning("deliveries.expired", count=len(expired))
            has_more = len(expired) == _BATCH_SIZE

    async def _delete_in_batches(self, delete_batch: Callable[[Transaction], Awaitable[bool]]) -> None:
        """Repeat a deletion, each time in its own transaction, until it says that nothing is left."""
        has_more = True
        while has_more:
            async with self._ledger.transaction() as tx:
                has_more = await delete_batch(tx)

    async def _delete_idempotency_keys(self, tx: Transaction) -> bool:
        deleted = await expiry.delete_idempotency_keys(tx, older_than=self._max_ages.idempotency)
        return deleted == _BATCH_SIZE

    async def _delete_sessions(self, tx: Transaction) -> bool:
        return await sessions.delete_expired(tx, before=self._clock() - ENDED_SESSION_RETENTION)

    async def _delete_login_failures(self, tx: Transaction) -> bool:
        return await login_failures.delete_expired(tx, before=self._clock() - ENDED_SESSION_RETENTION)

    async def _delete_dead_letters(self, tx: Transaction) -> bool:
        return await dead_letters.delete_expired(tx, before=self._clock() - self._max_ages.message)


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
