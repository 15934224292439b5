"""The accept transaction, shared by requests that arrive together.

While one transaction is on its way to the disk, the next group gathers. An answer leaves only after the
commit that holds its event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import structlog

from delivery import metrics
from delivery.accept.draft import Draft, Match, draft
from delivery.accept.known import Filters
from delivery.conditions import Answers
from delivery.errors import Conflict, Invalid, NotFound, Refusal, TooLarge, Unavailable
from delivery.ledger import accepting
from delivery.model import Prefix, TenantId, new_id, show_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from delivery.accept.draft import Subscriptions
    from delivery.accept.expected import Expected
    from delivery.accept.known import Known
    from delivery.accept.parse import AcceptLimits, NewEvent
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.accepting import DeliveryRow, EventRow
    from delivery.model import EndpointId

log = structlog.get_logger()

# Beyond this many waiting requests an honest "later" is better than a queue in memory.
MOST_WAITING = 4_000
MOST_WAITING_BYTES = 1 << 28
# A transaction that writes more keeps everybody waiting longer than it saves.
GROUP_EVENTS = 1_000
GROUP_BYTES = 1 << 23
# One request's fan-out: all of it is one transaction, which must end well within its time.
MOST_DELIVERIES = 50_000
# Two, so that one group is drafted while the other's commit reaches the disk. The second begins for what is
# worth a commit of its own, or has waited so long; less than that joins those who come meanwhile.
COMMITTERS = 2
WORTH_EVENTS, WORTH_BYTES = 100, 1 << 18
LONG_SECONDS = 0.1
# Conditions are asked on the loop that answers everybody: after so many seconds of it the others have a turn.
_TURN_SECONDS = 0.005
# Whose endpoints change between each look and the writing, so many times in turn, may try again later.
_TRIES = 5


class Accepted(NamedTuple):
    """The JSON answer, ready to send; `replayed` when its idempotency key had been seen before."""

    answer: bytes
    replayed: bool


@dataclass(slots=True, eq=False)  # nothing of it changes; frozen ones take five times as long to make
class _Request:
    """One producer's request on its way through a shared commit."""

    tenant_id: TenantId
    events: Sequence[NewEvent]
    single: bool
    key: str | None
    request_sha256: bytes
    only_endpoint: EndpointId | None
    size: int
    done: asyncio.Future[Accepted]
    traceparent: str | None
    # What conditions said, by event; empty as long as none was asked.
    answers: list[Answers] = field(default_factory=list)


class Accepter:
    """Accepts events for one process; concurrent callers share transactions."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        limits: AcceptLimits,
        clock: Callable[[], datetime],
        expected: Expected | None = None,
        traced: bool = False,
    ) -> None:
        """Nothing runs until the first request. `traced`: the traces that events come in are kept.

        `expected` says what events of some types have to look like; None: nothing is looked at.
        """
        self._expected = expected
        self._checking = 0
        self._traced = traced
        self.limits = limits
        self._ledger = ledger
        self._clock = clock
        self._filters = Filters()
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._waiting_events = 0
        self._committing = 0
        self._committers: set[asyncio.Task[None]] = set()
        self._hurry: asyncio.TimerHandle | None = None

    async def accept(  # noqa: PLR0913  what a request comes with, each by its name
        self,
        tenant_id: TenantId,
        events: Sequence[NewEvent],
        *,
        single: bool,
        idempotency_key: str | None = None,
        request_sha256: bytes = b"",
        only_endpoint: EndpointId | None = None,
        traceparent: str | None = None,
    ) -> Accepted:
        """Write the events and what is owed for them; return after the commit.

        Raises Invalid for an event that is not as its type's schema says, TooLarge for too wide a fan-out,
        Conflict for a known idempotency key with another request, NotFound for an unknown tenant, and
        Unavailable when the ledger does not answer or too many requests wait. After a connection that broke
        the commit may have happened all the same: asking again with the same idempotency key tells.
        """
        done: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        request = _Request(
            tenant_id,
            events,
            single,
            idempotency_key,
            request_sha256,
            only_endpoint,
            sum([len(event.data) for event in events]),
            done,
            traceparent,
        )
        try:
            return await self._accept(request)
        except (Invalid, TooLarge):
            # What is taken, and by how many, may have changed since it was accepted under its key.
            earlier = await self._answered(request)
            if earlier is None:
                raise
            return earlier

    async def _accept(self, request: _Request) -> Accepted:
        size = request.size
        if (
            len(self._waiting) + self._checking >= MOST_WAITING
            or self._waiting_bytes + size > MOST_WAITING_BYTES
        ):
            raise Unavailable("Too many requests wait for the ledger; try again in a moment.")
        if self._expected is not None:
            with self._busy_with(size):
                await self._expected.check(request.events, single=request.single)
        known = self._filters.known(request.tenant_id)
        if known is not None and known.subscriptions.conditional:
            # Here, so that nobody else waits for it: what has changed until it is written is asked then.
            with self._busy_with(size):
                await _ask_conditions(request, known)
        self._waiting.append(request)
        self._waiting_bytes += size
        self._waiting_events += len(request.events)
        if self._committing == 0 or self._is_worth_a_commit:
            self._commit_too()
        elif self._hurry is None:
            self._hurry = asyncio.get_running_loop().call_later(LONG_SECONDS, self._commit_late)
        return await request.done

    @property
    def _is_worth_a_commit(self) -> bool:
        return self._waiting_events >= WORTH_EVENTS or self._waiting_bytes >= WORTH_BYTES

    def _commit_late(self) -> None:
        self._hurry = None
        if self._waiting:
            self._commit_too()

    def _commit_too(self) -> None:
        if self._committing < COMMITTERS:
            self._committing += 1
            committer = asyncio.create_task(self._commit_waiting())
            self._committers.add(committer)
            committer.add_done_callback(self._committers.discard)

    async def _answered(self, request: _Request) -> Accepted | None:
        """What was answered to this very request before, under its idempotency key. Raises Conflict."""
        if request.key is None:
            return None
        at = (request.tenant_id, request.key)
        async with self._ledger.transaction() as tx:
            known = (await accepting.recall(tx, [at])).get(at)
        if known is None:
            return None
        outcome = _same_or_conflict(request, known)
        if isinstance(outcome, Accepted):
            return outcome
        raise outcome

    @contextmanager
    def _busy_with(self, size: int) -> Iterator[None]:
        """While events are looked at, they count among those that wait."""
        self._checking += 1
        self._waiting_bytes += size
        try:
            yield
        finally:
            self._checking -= 1
            self._waiting_bytes -= size

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._take_group())
        finally:
            # Here and not when the task is seen to be done: a request that comes between would wait for ever.
            self._committing -= 1

    def _take_group(self) -> list[_Request]:
        """The requests that fit into one transaction, and one at least."""
        group: list[_Request] = []
        events = size = 0
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if group and (events > GROUP_EVENTS or size > GROUP_BYTES):
                break
            group.append(self._waiting.popleft())
            self._waiting_bytes -= group[-1].size
            self._waiting_events -= len(group[-1].events)
        return group

    async def _commit(self, group: list[_Request]) -> None:
        try:
            outcomes = await self._write(group)
        except Unavailable as error:
            outcomes = [error for _ in group]
        except Exception as error:  # noqa: BLE001  whatever it was, its caller must hear of it
            if len(group) > 1:  # One request may have spoilt it for all: each alone then.
                for request in group:
                    await self._commit([request])
                return
            outcomes = [error]
        for request, outcome in zip(group, outcomes, strict=True):
            if request.done.done():  # the caller hung up; its event is accepted all the same
                continue
            if isinstance(outcome, Accepted):
                request.done.set_result(outcome)
            else:
                request.done.set_exception(outcome)

    async def _write(self, group: list[_Request]) -> list[Accepted | Exception]:
        log.debug("accept.began", requests=len(group))
        tenants = {request.tenant_id for request in group}
        known = self._filters.kept(tenants)
        for _ in range(_TRIES):
            if known is None:
                async with self._ledger.transaction() as tx:
                    known = await self._filters.of(tx, tenants)
            for request in group:
                if request.tenant_id in known and known[request.tenant_id].subscriptions.conditional:
                    await _ask_conditions(request, known[request.tenant_id])
            now = self._clock()
            drafts = [_draft(request, known, now) for request in group]
            began = perf_counter()
            outcomes = await self._insert(group, drafts, known, now)
            if outcomes is not None:
                log.debug("accept.committed", requests=len(group))
                _count(drafts, outcomes, perf_counter() - began)
                return outcomes
            known = None  # somebody has just changed endpoints
        raise Unavailable("The tenant's endpoints change too fast; try again in a moment.")

    async def _insert(
        self,
        group: list[_Request],
        drafts: list[Draft | Refusal],
        known: Mapping[TenantId, Known],
        now: datetime,
    ) -> list[Accepted | Exception] | None:
        """Write what was drafted; None, with nothing written, if it was drafted from what is no longer so."""
        versions = {tenant: kept.version for tenant, kept in known.items()}
        written = [drafted for drafted in drafts if isinstance(drafted, Draft)]
        if not written:
            return _outcomes(group, drafts, {})
        alone = sum([len(drafted.deliveries) for drafted in written]) <= accepting.MOST_AT_ONCE
        if alone and not any(request.key is not None for request in group):
            async with self._ledger.at_once() as door:
                is_written = await accepting.insert(
                    door, *_rows(written), now=now, known=versions, traced=self._traced
                )
            return _outcomes(group, drafts, {}) if is_written else None
        async with self._ledger.transaction() as tx:
            earlier = await self._earlier(tx, group, drafts, now)
            fresh = [
                drafted
                for request, drafted in zip(group, drafts, strict=True)
                if isinstance(drafted, Draft) and id(request) not in earlier
            ]
            if fresh and not await accepting.insert(
                tx, *_rows(fresh), now=now, known=versions, traced=self._traced
            ):
                await tx.rollback()
                return None
        return _outcomes(group, drafts, earlier)

    async def _earlier(
        self, tx: Transaction, group: list[_Request], drafts: list[Draft | Refusal], now: datetime
    ) -> dict[int, Accepted | Exception]:
        """The outcomes of requests whose idempotency key was taken before them, here or anywhere."""
        keyed: dict[tuple[TenantId, str], list[tuple[_Request, bytes]]] = {}
        for request, drafted in zip(group, drafts, strict=True):
            if request.key is not None and isinstance(drafted, Draft):
                keyed.setdefault((request.tenant_id, request.key), []).append((request, drafted.answer))
        if not keyed:
            return {}
        first = {key: requests[0] for key, requests in keyed.items()}
        fresh = await accepting.remember(
            tx,
            [
                accepting.KeyRow(tenant, key, request.request_sha256, answer, now)
                for (tenant, key), (request, answer) in first.items()
            ],
        )
        known = await accepting.recall(tx, list(keyed)) if len(fresh) < len(group) else {}
        return {
            id(request): _same_or_conflict(request, known.get(key))
            for key, requests in keyed.items()
            for position, (request, _) in enumerate(requests)
            if key not in fresh or position > 0
        }


def _count(
    drafts: Sequence[Draft | Refusal], outcomes: Sequence[Accepted | Exception], seconds: float
) -> None:
    fresh = [
        drafted
        for drafted, outcome in zip(drafts, outcomes, strict=True)
        if isinstance(drafted, Draft) and isinstance(outcome, Accepted) and not outcome.replayed
    ]
    if fresh:
        events = sum([len(drafted.events) for drafted in fresh])
        deliveries = sum([len(drafted.deliveries) for drafted in fresh])
        metrics.accepted(events=events, deliveries=deliveries, seconds=seconds)


def _rows(written: Sequence[Draft]) -> tuple[list[EventRow], list[DeliveryRow]]:
    events = [row for drafted in written for row in drafted.events]
    return events, [row for drafted in written for row in drafted.deliveries]


def _outcomes(
    group: list[_Request], drafts: list[Draft | Refusal], earlier: Mapping[int, Accepted | Exception]
) -> list[Accepted | Exception]:
    return [
        earlier.get(id(request)) or Accepted(drafted.answer, replayed=False)
        if isinstance(drafted, Draft)
        else drafted
        for request, drafted in zip(group, drafts, strict=True)
    ]


def _draft(request: _Request, known: Mapping[TenantId, Known], now: datetime) -> Draft | Refusal:
    if request.tenant_id not in known:
        return NotFound("tenant", show_id(Prefix.TENANT, request.tenant_id))
    owed = _owed(request, known[request.tenant_id].subscriptions)
    # Counted before it is drafted: a thousand events for a thousand endpoints are a million rows.
    count = sum([len(matches) for matches in owed])
    if count > MOST_DELIVERIES:
        return TooLarge("The fan-out of this request", size=count, limit=MOST_DELIVERIES, unit="deliveries")
    return draft(
        request.tenant_id,
        request.events,
        owed,
        single=request.single,
        now=now,
        new_id=new_id,
        key=request.key,
        traceparent=request.traceparent,
    )


def _owed(request: _Request, subscriptions: Subscriptions) -> list[Sequence[Match]]:
    """To whom each event is owed; what is for one endpoint is for that one, whatever it asks for."""
    if request.only_endpoint is not None:
        return [[Match(request.only_endpoint, None)] for _ in request.events]
    if not request.answers:
        return [subscriptions.owed(event) for event in request.events]
    both = zip(request.events, request.answers, strict=True)
    return [subscriptions.owed(event, answers) for event, answers in both]


async def _ask_conditions(request: _Request, known: Known) -> None:
    """Ask about the events what their endpoints' conditions ask and was not asked yet, with pauses."""
    if request.only_endpoint is not None:
        return
    subscriptions = known.subscriptions
    if not request.answers:
        request.answers.extend([Answers(event.data) for event in request.events])
    turn_ends = perf_counter() + _TURN_SECONDS
    for event, answers in zip(request.events, request.answers, strict=True):
        for condition in subscriptions.conditions(event):
            answers.of(condition)
            if perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _TURN_SECONDS
        answers.forget_payload()


def _same_or_conflict(request: _Request, known: tuple[bytes, bytes] | None) -> Accepted | Exception:
    if known is None:  # forgotten between the two statements: its time was over
        return Unavailable("This Idempotency-Key is just being forgotten; try again.")
    request_sha256, answer = known
    if request.request_sha256 == request_sha256:
        return Accepted(answer, replayed=True)
    return Conflict(
        "This Idempotency-Key was used before with another request. Use a new key for a new event."
    )
