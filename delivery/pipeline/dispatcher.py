"""A claim's way through a worker: started, loaded, signed, sent, judged, recorded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from delivery import metrics
from delivery.dispatch.attempt import Sent, ended
from delivery.dispatch.gate import Gate, GateClosed
from delivery.dispatch.sending import Sending
from delivery.dispatch.telling import tell
from delivery.ledger import claiming, recording
from delivery.model import AttemptId, Prefix, moment_of, new_id, show_id
from delivery.spans import Journey
from delivery.transport import Limits
from delivery.transport.posting import interrupted
from retries.policy import decide
from signing import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.dispatch.destinations import Destination, Destinations
    from delivery.dispatch.recorder import Recorder
    from delivery.ledger import Ledger
    from delivery.ledger.claiming import Work
    from delivery.model import ClaimId
    from delivery.spans.otel import Attempting, Spans
    from delivery.transport import Transport

log = structlog.get_logger()

# Secrets that cannot be opened are the operator's to mend; meanwhile nothing spins and nothing is burned.
_UNREADABLE_PAUSE = timedelta(minutes=1)
_LAST_WORDS = 2.5
# Why a delivery ends of whose event nothing is kept that could be sent.
PAYLOAD_GONE = "payload_gone"


@dataclass(frozen=True, slots=True)
class Edge:
    """The clock, the dice and, where traces are wanted, the spans: brought in from outside."""

    clock: Callable[[], datetime]
    dice: Callable[[], float]
    spans: Spans | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what terms a worker works: its name, its lease on a claim, the limits of one attempt.

    `tells_all`: attempts that succeed have a line in the log too.
    """

    worker: str
    lease: timedelta
    connect: timedelta
    response_bytes: int
    tells_all: bool = False


class Dispatcher:
    """Delivers claims for one worker process, on one event loop."""

    def __init__(  # noqa: PLR0913, PLR0917  its parts, each with a name; only bootstrap calls this
        self,
        ledger: Ledger,
        transport: Transport,
        destinations: Destinations,
        recorder: Recorder,
        gate: Gate,
        terms: Terms,
        edge: Edge,
    ) -> None:
        """Nothing runs until the first claim."""
        self._ledger = ledger
        self._sending = Sending(transport, edge.clock)
        self._destinations = destinations
        self._recorder = recorder
        self._gate = gate
        self._terms = terms
        self._edge = edge
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Deliveries that are on their way."""
        return len(self._in_flight)

    async def start(self, claim_id: ClaimId, *, replays: bool = False) -> int:
        """Start a claim and set its deliveries on their way; returns how many, without waiting for them.

        Waits until there is room; replays wait until live work leaves some. A claim that was started before,
        or rescued, is left alone: 0. One that comes while we stop is handed back. Raises Unavailable when the
        ledger does not answer.
        """
        try:
            await self._gate.opened(replays=replays)
        except GateClosed:
            async with self._ledger.transaction() as tx:
                await claiming.hand_back(tx, [claim_id])
            return 0
        started = 0
        try:
            started = await self._start(claim_id)
        finally:
            if not started:
                self._gate.wake()
        return started

    def close(self) -> None:
        """Start nothing more."""
        self._gate.close()

    async def drain(self, patience: timedelta) -> None:
        """Wait for what is in flight, then break the rest off: recorded as interrupted, due again."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=patience.total_seconds())
        for task in self._in_flight:
            task.cancel()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_LAST_WORDS)
        # Who was broken off after its answer had come left its result with the recorder.
        await self._recorder.settle(timedelta(seconds=_LAST_WORDS))

    async def _start(self, claim_id: ClaimId) -> int:
        began = asyncio.get_running_loop().time()
        lease_ends = began + self._terms.lease.total_seconds()
        async with self._ledger.at_once() as door:
            work = await claiming.start(
                door,
                claim_id,
                worker=self._terms.worker,
                lease=self._terms.lease,
                traced=self._edge.spans is not None,
            )
        if not work:
            return 0
        empty = [item for item in work if item.body is None]
        if empty:
            await self._cancel(claim_id, empty)
        owed = [item for item in work if item.body is not None]
        destinations = await self._destinations.of(owed)
        log.debug("claim.started", claim=str(claim_id), deliveries=len(work))
        metrics.took("start", asyncio.get_running_loop().time() - began)
        for item in owed:
            if (destination := destinations.get(item.endpoint_id)) is not None:
                self._spawn(claim_id, item, destination, lease_ends)
        unreadable = [item for item in owed if item.endpoint_id not in destinations]
        if unreadable:
            await self._postpone(claim_id, unreadable, by=_UNREADABLE_PAUSE)
        return len(work)

    def _spawn(self, claim_id: ClaimId, work: Work, destination: Destination, lease_ends: float) -> None:
        task = asyncio.create_task(self._deliver(claim_id, work, destination, lease_ends))
        self._in_flight.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The claim still holds this delivery; when its lease lapses it is due again.
            log.error("delivery.broke_off", error=repr(error), exc_info=error)

    async def _deliver(
        self, claim_id: ClaimId, work: Work, destination: Destination, lease_ends: float
    ) -> None:
        time_left = lease_ends - asyncio.get_running_loop().time()
        if time_left < destination.timeout.total_seconds():
            # Another worker may hold this delivery before our attempt would be over.
            await self._postpone(claim_id, [work], by=timedelta(0))
            return
        place = self._gate.enter()
        try:
            await self._attempt(claim_id, work, destination)
        finally:
            place.leave()

    async def _attempt(self, claim_id: ClaimId, work: Work, destination: Destination) -> None:
        started_at, attempt_id = self._edge.clock(), AttemptId(new_id())
        shaped = destination.shaped(work.event_id, work.body or b"")
        signed = sign(
            destination.ring.live(started_at),
            message_id=show_id(Prefix.EVENT, work.event_id),
            timestamp=started_at,
            body=shaped.body,
        )
        log.debug("delivery.signed", attempt_id=str(attempt_id))
        span = self._span(work, destination, attempt_id, started_at)
        traceparent = None if span is None else span.traceparent
        sent = Sent(work, claim_id, attempt_id, signed, shaped, started_at, self._terms.worker, traceparent)
        limits = Limits(self._terms.connect, destination.timeout, self._terms.response_bytes)
        try:
            exchange = await self._sending.send(
                work.endpoint_id,
                destination,
                sent.headers(destination),
                shaped.body,
                limits=limits,
                now=started_at,
            )
        except asyncio.CancelledError:
            exchange = interrupted()
        now = self._edge.clock()
        decision = decide(
            exchange.outcome,
            step=work.step,
            schedule=destination.schedule,
            now=now,
            jitter=self._edge.dice(),
            permanent=destination.permanent,
            unburned=work.attempts - work.step,
        )
        outcome = ended(sent, destination, exchange, decision, now=now)
        tell(outcome.result, every=self._terms.tells_all, traceparent=traceparent)
        if span is not None:
            attempt = outcome.result.attempt
            span.ended(now, outcome=attempt.outcome, status=attempt.status, decision=attempt.decision)
        await self._recorder.record(outcome)

    def _span(
        self, work: Work, destination: Destination, attempt_id: AttemptId, started_at: datetime
    ) -> Attempting | None:
        if self._edge.spans is None or work.traceparent is None:
            return None
        about: dict[str, str | int] = {
            "waybill.event_id": show_id(Prefix.EVENT, work.event_id),
            "waybill.delivery_id": show_id(Prefix.DELIVERY, work.delivery_id),
            "waybill.attempt_id": show_id(Prefix.ATTEMPT, attempt_id),
            "waybill.endpoint_id": show_id(Prefix.ENDPOINT, work.endpoint_id),
            "waybill.attempt_number": work.attempts + 1,
        }
        accepted_at = None if work.attempts else moment_of(work.delivery_id)
        journey = Journey(work.traceparent, work.claimed_at, started_at, about, accepted_at)
        return self._edge.spans.attempting(journey, urlsplit(destination.url).hostname or "")

    async def _cancel(self, claim_id: ClaimId, work: Sequence[Work]) -> None:
        async with self._ledger.transaction() as tx:
            ids = [item.delivery_id for item in work]
            await recording.cancel(tx, claim_id, ids, reason=PAYLOAD_GONE)
        metrics.ended("cancelled", len(work))
        log.warning("deliveries.cancelled", count=len(work), reason=PAYLOAD_GONE)

    async def _postpone(self, claim_id: ClaimId, work: Sequence[Work], *, by: timedelta) -> None:
        async with self._ledger.transaction() as tx:
            await recording.postpone(tx, claim_id, [item.delivery_id for item in work], by=by)
