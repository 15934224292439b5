"""Dispatches claims in a worker: starts them, sends their deliveries, and records the results."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from delivery.destinations.http.exchange import AttemptLimits
from delivery.destinations.http.post import build_interrupted_exchange
from delivery.destinations.http.sender import Sender
from delivery.domain.ids import AttemptId, Prefix, extract_id_time, format_id, new_id
from delivery.ledger.queue import claims, results
from delivery.log import get_logger
from delivery.pipeline.attempt import SentDelivery, finish_attempt
from delivery.pipeline.attempt_log import log_attempt
from delivery.pipeline.concurrency import ConcurrencyLimiter, LimiterClosed
from delivery.telemetry import metrics
from delivery.telemetry.tracing import AttemptTraceContext
from retries.policy import decide
from signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.destinations.http.destination import Destination
    from delivery.destinations.http.transport import Transport
    from delivery.domain.ids import ClaimId
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.pipeline.destination_cache import DestinationCache
    from delivery.pipeline.recorder import Recorder
    from delivery.telemetry.tracing.otel import AttemptSpan, Tracer

log = get_logger()

# The operator must mend secrets that cannot be decrypted; meanwhile no attempt is used up.
_UNREADABLE_RETRY_DELAY = timedelta(minutes=1)
_CANCEL_GRACE_SECONDS = 2.5
# The reason of a delivery whose event's payload has been deleted.
PAYLOAD_GONE = "payload_gone"


@dataclass(frozen=True, slots=True)
class RuntimeDeps:
    """The clock, the random numbers, and the tracer if traces are on."""

    clock: Callable[[], datetime]
    rng: Callable[[], float]
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The settings of a worker: its name, its lease on a claim, the limits of one attempt.

    `log_successes`: attempts that succeed are logged too.
    """

    worker: str
    lease: timedelta
    connect_timeout: timedelta
    max_response_bytes: int
    log_successes: bool = False


class Dispatcher:
    """Delivers claims for one worker process, on one event loop."""

    def __init__(  # noqa: PLR0913, PLR0917  its parts, each with a name; only bootstrap calls this
        self,
        ledger: Ledger,
        transport: Transport,
        destinations: DestinationCache,
        recorder: Recorder,
        limiter: ConcurrencyLimiter,
        config: WorkerConfig,
        deps: RuntimeDeps,
    ) -> None:
        self._ledger = ledger
        self._sender = Sender(transport, deps.clock)
        self._destinations = destinations
        self._recorder = recorder
        self._limiter = limiter
        self._config = config
        self._deps = deps
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """The number of deliveries in flight."""
        return len(self._in_flight)

    async def start_claim(self, claim_id: ClaimId, *, replays: bool = False) -> int:
        """Start the deliveries of a claim and return their number, without waiting for them to end.

        Waits for room first; replays wait until live work leaves some. A claim that was started before or
        rescued is skipped: 0. One that comes while the process stops is handed back. Raises Unavailable when
        the ledger does not answer.
        """
        try:
            await self._limiter.wait_until_open(replays=replays)
        except LimiterClosed:
            async with self._ledger.transaction() as tx:
                await claims.return_claims(tx, [claim_id])
            return 0
        started = 0
        try:
            started = await self._start(claim_id)
        finally:
            if not started:
                self._limiter.wake_next()
        return started

    def close(self) -> None:
        """Start nothing more."""
        self._limiter.close()

    async def drain(self, grace: timedelta) -> None:
        """Wait for deliveries in flight, then cancel the rest: recorded as interrupted, it is due again."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=grace.total_seconds())
        for task in self._in_flight:
            task.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_CANCEL_GRACE_SECONDS)
        # Deliveries that were cancelled after their response came have left their result with the recorder.
        await self._recorder.drain(timedelta(seconds=_CANCEL_GRACE_SECONDS))

    async def _start(self, claim_id: ClaimId) -> int:
        began = asyncio.get_running_loop().time()
        lease_ends = began + self._config.lease.total_seconds()
        async with self._ledger.autocommit() as connection:
            work = await claims.start_claim(
                connection,
                claim_id,
                worker=self._config.worker,
                lease=self._config.lease,
                traced=self._deps.tracer is not None,
            )
        if not work:
            return 0
        without_payload = [item for item in work if item.body is None]
        if without_payload:
            await self._cancel_deliveries(claim_id, without_payload)
        sendable = [item for item in work if item.body is not None]
        destinations = await self._destinations.load_destinations(sendable)
        log.debug("claim.started", claim=str(claim_id), deliveries=len(work))
        metrics.observe_phase("start", asyncio.get_running_loop().time() - began)
        for item in sendable:
            if (destination := destinations.get(item.endpoint_id)) is not None:
                self._spawn(claim_id, item, destination, lease_ends)
        unreadable = [item for item in sendable if item.endpoint_id not in destinations]
        if unreadable:
            await self._postpone_deliveries(claim_id, unreadable, delay=_UNREADABLE_RETRY_DELAY)
        return len(work)

    def _spawn(
        self, claim_id: ClaimId, work: ClaimedDelivery, destination: Destination, lease_ends: float
    ) -> None:
        task = asyncio.create_task(self._deliver(claim_id, work, destination, lease_ends))
        self._in_flight.add(task)
        task.add_done_callback(self._on_delivery_done)

    def _on_delivery_done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The claim still holds this delivery; it is due again when the lease lapses.
            log.error("delivery.crashed", error=repr(error), exc_info=error)

    async def _deliver(
        self, claim_id: ClaimId, work: ClaimedDelivery, destination: Destination, lease_ends: float
    ) -> None:
        time_left = lease_ends - asyncio.get_running_loop().time()
        if time_left < destination.timeout.total_seconds():
            # The lease would lapse, and another worker claim the delivery, before this attempt ends.
            await self._postpone_deliveries(claim_id, [work], delay=timedelta(0))
            return
        slot = self._limiter.acquire_slot()
        try:
            await self._attempt(claim_id, work, destination)
        finally:
            slot.release()

    async def _attempt(self, claim_id: ClaimId, work: ClaimedDelivery, destination: Destination) -> None:
        started_at, attempt_id = self._deps.clock(), AttemptId(new_id())
        payload = destination.format_payload(work.event_id, work.body or b"")
        signed = sign(
            destination.key_ring.get_live_secrets(started_at),
            message_id=format_id(Prefix.EVENT, work.event_id),
            timestamp=started_at,
            body=payload.body,
        )
        log.debug("delivery.signed", attempt_id=str(attempt_id))
        span = self._start_span(work, destination, attempt_id, started_at)
        traceparent = None if span is None else span.traceparent
        sent = SentDelivery(
            work, claim_id, attempt_id, signed, payload, started_at, self._config.worker, traceparent
        )
        limits = AttemptLimits(
            self._config.connect_timeout, destination.timeout, self._config.max_response_bytes
        )
        try:
            exchange = await self._sender.send(
                work.endpoint_id,
                destination,
                sent.build_headers(destination),
                payload.body,
                limits=limits,
                now=started_at,
            )
        except asyncio.CancelledError:
            exchange = build_interrupted_exchange()
        now = self._deps.clock()
        decision = decide(
            exchange.outcome,
            step=work.step,
            schedule=destination.schedule,
            now=now,
            jitter=self._deps.rng(),
            permanent_statuses=destination.permanent_statuses,
            uncounted_attempts=work.attempts - work.step,
        )
        finished = finish_attempt(sent, destination, exchange, decision, now=now)
        log_attempt(finished.result, log_successes=self._config.log_successes, traceparent=traceparent)
        if span is not None:
            attempt = finished.result.attempt
            span.end(now, outcome=attempt.outcome, status=attempt.status, decision=attempt.decision)
        await self._recorder.record(finished)

    def _start_span(
        self, work: ClaimedDelivery, destination: Destination, attempt_id: AttemptId, started_at: datetime
    ) -> AttemptSpan | None:
        if self._deps.tracer is None or work.traceparent is None:
            return None
        attributes: dict[str, str | int] = {
            "waybill.event_id": format_id(Prefix.EVENT, work.event_id),
            "waybill.delivery_id": format_id(Prefix.DELIVERY, work.delivery_id),
            "waybill.attempt_id": format_id(Prefix.ATTEMPT, attempt_id),
            "waybill.endpoint_id": format_id(Prefix.ENDPOINT, work.endpoint_id),
            "waybill.attempt_number": work.attempts + 1,
        }
        accepted_at = None if work.attempts else extract_id_time(work.delivery_id)
        context = AttemptTraceContext(work.traceparent, work.claimed_at, started_at, attributes, accepted_at)
        return self._deps.tracer.start_attempt(context, urlsplit(destination.url).hostname or "")

    async def _cancel_deliveries(self, claim_id: ClaimId, work: Sequence[ClaimedDelivery]) -> None:
        async with self._ledger.transaction() as tx:
            ids = [item.delivery_id for item in work]
            await results.cancel(tx, claim_id, ids, reason=PAYLOAD_GONE)
        metrics.count_ended("cancelled", len(work))
        log.warning("deliveries.cancelled", count=len(work), reason=PAYLOAD_GONE)

    async def _postpone_deliveries(
        self, claim_id: ClaimId, work: Sequence[ClaimedDelivery], *, delay: timedelta
    ) -> None:
        async with self._ledger.transaction() as tx:
            await results.postpone(tx, claim_id, [item.delivery_id for item in work], delay=delay)
