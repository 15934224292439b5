"""The group-committed record: results that come together share a transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from delivery.dispatch.counting import count
from delivery.dispatch.judging import judge_all
from delivery.errors import Unavailable
from delivery.ledger import recording
from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.dispatch.judging import Ended
    from delivery.ledger import Ledger
    from delivery.ledger.recording import Result

log = structlog.get_logger()

MOST_AT_ONCE = 500
# Long enough for neighbours to join, short against what a request takes.
LINGER_SECONDS = 0.02
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_UNRECORDABLE_PAUSE = timedelta(minutes=10)


class Recorder:
    """Records results for one process. Runs while there is something to record."""

    def __init__(self, ledger: Ledger, dice: Callable[[], float]) -> None:
        """Nothing runs until the first result. `dice` spreads the cool-downs of breakers."""
        self._ledger = ledger
        self._dice = dice
        self._waiting: list[tuple[Ended, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def record(self, ended: Ended) -> None:
        """Return once the attempt is in the ledger; waits as long as the ledger does not answer."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ended, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        await done

    async def settle(self, patience: timedelta) -> None:
        """Wait until all that was given is in the ledger, though those who gave it may be gone."""
        if self._running is not None:
            await asyncio.wait([self._running], timeout=patience.total_seconds())

    async def _run(self) -> None:
        while self._waiting:
            if len(self._waiting) < MOST_AT_ONCE:
                await asyncio.sleep(LINGER_SECONDS)
            group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                await self._commit([ended for ended, _ in group])
            except Exception:  # nobody may wait for ever; their leases bring these back
                log.exception("record.failed", results=len(group))
            for _, done in group:
                if not done.done():
                    done.set_result(None)

    async def _commit(self, group: list[Ended]) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = perf_counter()
            try:
                async with self._ledger.transaction() as tx:
                    recorded = await recording.record(tx, [ended.result for ended in group])
                    turned = await judge_all(tx, group, recorded, dice=self._dice)
            except Unavailable as error:
                log.warning("record.waiting", results=len(group), why=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001  one row that cannot be stored must not hold up others
                await self._commit_one_by_one(group, error)
                return
            else:
                log.debug("record.committed", results=len(group))
                count(group, recorded, turned, perf_counter() - began)
                if recorded.orphans:
                    log.warning("record.after_rescue", claims=[str(claim) for claim in recorded.orphans])
                return

    async def _commit_one_by_one(self, group: list[Ended], error: Exception) -> None:
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
                delivery_id=show_id(Prefix.DELIVERY, result.attempt.delivery_id),
                error=repr(error),
            )
            await self._put_off(result)
            return
        log.error(
            "record.without_response",
            delivery_id=show_id(Prefix.DELIVERY, result.attempt.delivery_id),
            error=repr(error),
        )
        bare = replace(result.attempt, response_headers=(), response_body=b"", response_truncated=True)
        await self._commit([replace(group[0], result=replace(result, attempt=bare))])

    async def _is_recorded(self, result: Result) -> bool:
        """Waits out an outage: taking a recorded result for a new one would count it twice."""
        while True:
            try:
                async with self._ledger.transaction() as tx:
                    return await recording.is_recorded(tx, result.attempt.id)
            except Unavailable as error:
                log.warning("record.waiting", results=1, why=str(error))
                await asyncio.sleep(_FIRST_PAUSE)

    async def _put_off(self, result: Result) -> None:
        try:
            async with self._ledger.transaction() as tx:
                deliveries = [result.attempt.delivery_id]
                await recording.postpone(tx, result.claim_id, deliveries, by=_UNRECORDABLE_PAUSE)
        except Exception as error:  # noqa: BLE001  then its lease gives it back
            log.error("record.not_put_off", error=repr(error))  # noqa: TRY400  the cause is logged above
