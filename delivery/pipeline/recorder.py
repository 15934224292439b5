"""Records the results of attempts in group commits, and waits out outages of the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from delivery.domain.backoff import Backoff
from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.queue import results
from delivery.log import get_logger
from delivery.pipeline.attempt_metrics import record_metrics
from delivery.pipeline.group_commit import GroupCommit, GroupLimits
from delivery.pipeline.health_update import apply_results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.results import RecordedAttempt
    from delivery.pipeline.health_update import FinishedAttempt

log = get_logger()

MAX_BATCH_SIZE = 500
# Long enough for neighbours to join, short against what a request takes.
GATHER_SECONDS = 0.02
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 5.0
_UNRECORDABLE_RETRY_DELAY = timedelta(minutes=10)


class Recorder:
    """Records the results of one process."""

    def __init__(self, ledger: Ledger, rng: Callable[[], float]) -> None:
        """`rng` spreads the cool-downs of breakers."""
        self._ledger = ledger
        self._rng = rng
        self._commits: GroupCommit[FinishedAttempt, None] = GroupCommit(
            self._commit, GroupLimits(max_count=MAX_BATCH_SIZE, gather_seconds=GATHER_SECONDS)
        )

    async def record(self, attempt: FinishedAttempt) -> None:
        """Return once the attempt is in the ledger; waits as long as the ledger does not answer."""
        await self._commits.submit(attempt)

    async def drain(self, grace: timedelta) -> None:
        """Wait until all results are recorded, including those of cancelled callers."""
        await self._commits.drain(grace)

    async def _commit(self, group: list[FinishedAttempt]) -> Sequence[None]:
        try:
            await self._record(group)
        except Exception as error:
            if len(group) > 1:
                raise  # each is committed alone then: one that cannot be stored must not hold up the others
            try:
                await self._record_without_response(group[0], error)
            except Exception:  # its caller must not wait for ever; the lease brings the delivery back
                log.exception("record.failed", results=1)
        return [None] * len(group)

    async def _record(self, group: Sequence[FinishedAttempt]) -> None:
        """Record a group in one transaction; waits out outages."""
        backoff = Backoff(min_seconds=_MIN_PAUSE_SECONDS, max_seconds=_MAX_PAUSE_SECONDS)
        while True:
            began = perf_counter()
            try:
                async with self._ledger.transaction() as tx:
                    recorded = await results.record_attempts(tx, [attempt.result for attempt in group])
                    breaker_changes = await apply_results(tx, group, recorded, rng=self._rng)
            except Unavailable as error:
                log.warning("record.waiting", results=len(group), why=str(error))
                await asyncio.sleep(backoff.next_pause())
                continue
            log.debug("record.committed", results=len(group))
            record_metrics(group, recorded, breaker_changes, perf_counter() - began)
            if recorded.orphaned_claims:
                log.warning("record.after_rescue", claims=[str(claim) for claim in recorded.orphaned_claims])
            return

    async def _record_without_response(self, attempt: FinishedAttempt, error: Exception) -> None:
        """Record a result that the ledger refused once more, without what the receiver sent.

        If that is refused too, the delivery is postponed, so that it is not sent again with every lease until
        the fault is mended.
        """
        result = attempt.result
        if await self._is_recorded(result):  # the commit succeeded, only its acknowledgement was lost
            return
        delivery_id = format_id(Prefix.DELIVERY, result.attempt.delivery_id)
        if result.attempt.response_headers or result.attempt.response_body:
            log.error("record.without_response", delivery_id=delivery_id, error=repr(error))
            bare = replace(result.attempt, response_headers=(), response_body=b"", response_truncated=True)
            await self._commit([replace(attempt, result=replace(result, attempt=bare))])
            return
        log.error("record.impossible", delivery_id=delivery_id, error=repr(error))
        await self._postpone_delivery(result)

    async def _is_recorded(self, result: RecordedAttempt) -> bool:
        """Waits out an outage: taking a recorded result for a new one would count it twice."""
        while True:
            try:
                async with self._ledger.transaction() as tx:
                    return await results.is_recorded(tx, result.attempt.id)
            except Unavailable as error:
                log.warning("record.waiting", results=1, why=str(error))
                await asyncio.sleep(_MIN_PAUSE_SECONDS)

    async def _postpone_delivery(self, result: RecordedAttempt) -> None:
        try:
            async with self._ledger.transaction() as tx:
                deliveries = [result.attempt.delivery_id]
                await results.postpone(tx, result.claim_id, deliveries, delay=_UNRECORDABLE_RETRY_DELAY)
        except Exception as error:  # noqa: BLE001  its lease gives it back
            log.error("record.not_postponed", error=repr(error))  # noqa: TRY400  the cause is logged above
