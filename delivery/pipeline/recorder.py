"""The group-committed record: results that come together share a transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.queue import results
from delivery.pipeline.attempt_metrics import record_metrics
from delivery.pipeline.health_update import apply_results

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.results import RecordedAttempt
    from delivery.pipeline.health_update import FinishedAttempt

log = structlog.get_logger()

MAX_BATCH_SIZE = 500
# Long enough for neighbours to join, short against what a request takes.
LINGER_SECONDS = 0.02
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 5.0
_UNRECORDABLE_RETRY_DELAY = timedelta(minutes=10)


class Recorder:
    """Records results for one process. Runs while there is something to record."""

    def __init__(self, ledger: Ledger, rng: Callable[[], float]) -> None:
        """Nothing runs until the first result. `dice` spreads the cool-downs of breakers."""
        self._ledger = ledger
        self._rng = rng
        self._waiting: list[tuple[FinishedAttempt, asyncio.Future[None]]] = []
        self._run_task: asyncio.Task[None] | None = None

    async def record(self, attempt: FinishedAttempt) -> None:
        """Return once the attempt is in the ledger; waits as long as the ledger does not answer."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, done))
        if self._run_task is None or self._run_task.done():
            self._run_task = asyncio.create_task(self._run())
        await done

    async def drain(self, grace: timedelta) -> None:
        """Wait until all that was given is in the ledger, though those who gave it may be gone."""
        if self._run_task is not None:
            await asyncio.wait([self._run_task], timeout=grace.total_seconds())

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) < MAX_BATCH_SIZE:
                await asyncio.sleep(LINGER_SECONDS)
            group, self._waiting = self._waiting[:MAX_BATCH_SIZE], self._waiting[MAX_BATCH_SIZE:]
            try:
                await self._commit([ended for ended, _ in group])
            except Exception:  # nobody may wait for ever; their leases bring these back
                log.exception("record.failed", results=len(group))
            for _, done in group:
                if not done.done():
                    done.set_result(None)

    async def _commit(self, group: list[FinishedAttempt]) -> None:
        pause = _MIN_PAUSE_SECONDS
        while True:
            began = perf_counter()
            try:
                async with self._ledger.transaction() as tx:
                    recorded = await results.record_attempts(tx, [ended.result for ended in group])
                    turned = await apply_results(tx, group, recorded, rng=self._rng)
            except Unavailable as error:
                log.warning("record.waiting", results=len(group), why=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001  one row that cannot be stored must not hold up others
                await self._commit_one_by_one(group, error)
                return
            else:
                log.debug("record.committed", results=len(group))
                record_metrics(group, recorded, turned, perf_counter() - began)
                if recorded.orphaned_claims:
                    log.warning(
                        "record.after_rescue", claims=[str(claim) for claim in recorded.orphaned_claims]
                    )
                return

    async def _commit_one_by_one(self, group: list[FinishedAttempt], error: Exception) -> None:
        if len(group) > 1:
            for ended in group:
                await self._commit([ended])
            return
        result = group[0].result
        if await self._is_recorded(result):  # its commit had happened, only the answer was lost
            return
        if not result.attempt.response_headers and not result.attempt.response_body:
            # Nothing of the receiver's is left in it: a fault of ours, told in the log. The delivery is put
            # off, so that it is not sent again with every lease until somebody has mended it.
            log.error(
                "record.impossible",
                delivery_id=format_id(Prefix.DELIVERY, result.attempt.delivery_id),
                error=repr(error),
            )
            await self._postpone_delivery(result)
            return
        log.error(
            "record.without_response",
            delivery_id=format_id(Prefix.DELIVERY, result.attempt.delivery_id),
            error=repr(error),
        )
        bare = replace(result.attempt, response_headers=(), response_body=b"", response_truncated=True)
        await self._commit([replace(group[0], result=replace(result, attempt=bare))])

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
        except Exception as error:  # noqa: BLE001  then its lease gives it back
            log.error("record.not_put_off", error=repr(error))  # noqa: TRY400  the cause is logged above
