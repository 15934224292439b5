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

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.errors import Conflict, Invalid, NotFound, Refusal, TooLarge, Unavailable
from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.ledger.queue import enqueue
from delivery.pipeline.fanout import FanoutPlan, Match, plan_fanout
from delivery.pipeline.subscription_cache import SubscriptionCache
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.enqueue import DeliveryRow, EventRow
    from delivery.pipeline.fanout import Subscriptions
    from delivery.pipeline.parsing import IntakeLimits, NewEvent
    from delivery.pipeline.schema_cache import SchemaCache
    from delivery.pipeline.subscription_cache import CachedSubscriptions

log = structlog.get_logger()

# Beyond this many waiting requests an honest "later" is better than a queue in memory.
MAX_WAITING_REQUESTS = 4_000
MAX_WAITING_BYTES = 1 << 28
# A transaction that writes more keeps everybody waiting longer than it saves.
MAX_GROUP_EVENTS = 1_000
MAX_GROUP_BYTES = 1 << 23
# One request's fan-out: all of it is one transaction, which must end well within its time.
MAX_FANOUT = 50_000
# Two, so that one group is drafted while the other's commit reaches the disk. The second begins for what is
# worth a commit of its own, or has waited so long; less than that joins those who come meanwhile.
MAX_CONCURRENT_COMMITS = 2
EAGER_COMMIT_EVENTS, EAGER_COMMIT_BYTES = 100, 1 << 18
MAX_LINGER_SECONDS = 0.1
# Conditions are asked on the loop that answers everybody: after so many seconds of it the others have a turn.
_YIELD_INTERVAL_SECONDS = 0.005
# Whose endpoints change between each look and the writing, so many times in turn, may try again later.
_MAX_WRITE_TRIES = 5


class IntakeResult(NamedTuple):
    """The JSON answer, ready to send; `replayed` when its idempotency key had been seen before."""

    response_body: bytes
    replayed: bool


@dataclass(slots=True, eq=False)  # nothing of it changes; frozen ones take five times as long to make
class _IntakeRequest:
    """One producer's request on its way through a shared commit."""

    tenant_id: TenantId
    events: Sequence[NewEvent]
    single: bool
    idempotency_key: str | None
    request_sha256: bytes
    only_endpoint_id: EndpointId | None
    size: int
    done: asyncio.Future[IntakeResult]
    traceparent: str | None
    # What conditions said, by event; empty as long as none was asked.
    condition_evaluators: list[ConditionEvaluator] = field(default_factory=list)


class Intake:
    """Accepts events for one process; concurrent callers share transactions."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        limits: IntakeLimits,
        clock: Callable[[], datetime],
        schema_cache: SchemaCache | None = None,
        keep_traces: bool = False,
    ) -> None:
        """Nothing runs until the first request. `traced`: the traces that events come in are kept.

        `expected` says what events of some types have to look like; None: nothing is looked at.
        """
        self._schema_cache = schema_cache
        self._checking = 0
        self._keep_traces = keep_traces
        self.limits = limits
        self._ledger = ledger
        self._clock = clock
        self._subscription_cache = SubscriptionCache()
        self._waiting: deque[_IntakeRequest] = deque()
        self._waiting_bytes = 0
        self._waiting_events = 0
        self._committing = 0
        self._committers: set[asyncio.Task[None]] = set()
        self._late_commit_timer: asyncio.TimerHandle | None = None

    async def accept_events(  # noqa: PLR0913  what a request comes with, each by its name
        self,
        tenant_id: TenantId,
        events: Sequence[NewEvent],
        *,
        single: bool,
        idempotency_key: str | None = None,
        request_sha256: bytes = b"",
        only_endpoint_id: EndpointId | None = None,
        traceparent: str | None = None,
    ) -> IntakeResult:
        """Write the events and what is owed for them; return after the commit.

        Raises Invalid for an event that is not as its type's schema says, TooLarge for too wide a fan-out,
        Conflict for a known idempotency key with another request, NotFound for an unknown tenant, and
        Unavailable when the ledger does not answer or too many requests wait. After a connection that broke
        the commit may have happened all the same: asking again with the same idempotency key tells.
        """
        done: asyncio.Future[IntakeResult] = asyncio.get_running_loop().create_future()
        request = _IntakeRequest(
            tenant_id,
            events,
            single,
            idempotency_key,
            request_sha256,
            only_endpoint_id,
            sum([len(event.data) for event in events]),
            done,
            traceparent,
        )
        try:
            return await self._admit(request)
        except (Invalid, TooLarge):
            # What is taken, and by how many, may have changed since it was accepted under its key.
            earlier = await self._find_earlier_result(request)
            if earlier is None:
                raise
            return earlier

    async def _admit(self, request: _IntakeRequest) -> IntakeResult:
        size = request.size
        if (
            len(self._waiting) + self._checking >= MAX_WAITING_REQUESTS
            or self._waiting_bytes + size > MAX_WAITING_BYTES
        ):
            raise Unavailable("Too many requests wait for the ledger; try again in a moment.")
        if self._schema_cache is not None:
            with self._count_as_waiting(size):
                await self._schema_cache.check_events(request.events, single=request.single)
        known = self._subscription_cache.get_cached_tenant(request.tenant_id)
        if known is not None and known.subscriptions.has_conditions:
            # Here, so that nobody else waits for it: what has changed until it is written is asked then.
            with self._count_as_waiting(size):
                await _evaluate_conditions(request, known)
        self._waiting.append(request)
        self._waiting_bytes += size
        self._waiting_events += len(request.events)
        if self._committing == 0 or self._should_commit_now:
            self._start_committer()
        elif self._late_commit_timer is None:
            self._late_commit_timer = asyncio.get_running_loop().call_later(
                MAX_LINGER_SECONDS, self._commit_late
            )
        return await request.done

    @property
    def _should_commit_now(self) -> bool:
        return self._waiting_events >= EAGER_COMMIT_EVENTS or self._waiting_bytes >= EAGER_COMMIT_BYTES

    def _commit_late(self) -> None:
        self._late_commit_timer = None
        if self._waiting:
            self._start_committer()

    def _start_committer(self) -> None:
        if self._committing < MAX_CONCURRENT_COMMITS:
            self._committing += 1
            committer = asyncio.create_task(self._commit_waiting())
            self._committers.add(committer)
            committer.add_done_callback(self._committers.discard)

    async def _find_earlier_result(self, request: _IntakeRequest) -> IntakeResult | None:
        """What was answered to this very request before, under its idempotency key. Raises Conflict."""
        if request.idempotency_key is None:
            return None
        at = (request.tenant_id, request.idempotency_key)
        async with self._ledger.transaction() as tx:
            known = (await enqueue.find_idempotency_keys(tx, [at])).get(at)
        if known is None:
            return None
        outcome = _compare_with_known(request, known)
        if isinstance(outcome, IntakeResult):
            return outcome
        raise outcome

    @contextmanager
    def _count_as_waiting(self, size: int) -> Iterator[None]:
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

    def _take_group(self) -> list[_IntakeRequest]:
        """The requests that fit into one transaction, and one at least."""
        group: list[_IntakeRequest] = []
        events = size = 0
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if group and (events > MAX_GROUP_EVENTS or size > MAX_GROUP_BYTES):
                break
            group.append(self._waiting.popleft())
            self._waiting_bytes -= group[-1].size
            self._waiting_events -= len(group[-1].events)
        return group

    async def _commit(self, group: list[_IntakeRequest]) -> None:
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
            if isinstance(outcome, IntakeResult):
                request.done.set_result(outcome)
            else:
                request.done.set_exception(outcome)

    async def _write(self, group: list[_IntakeRequest]) -> list[IntakeResult | Exception]:
        log.debug("accept.began", requests=len(group))
        tenants = {request.tenant_id for request in group}
        known = self._subscription_cache.get_cached(tenants)
        for _ in range(_MAX_WRITE_TRIES):
            if known is None:
                async with self._ledger.transaction() as tx:
                    known = await self._subscription_cache.load_subscriptions(tx, tenants)
            for request in group:
                if request.tenant_id in known and known[request.tenant_id].subscriptions.has_conditions:
                    await _evaluate_conditions(request, known[request.tenant_id])
            now = self._clock()
            drafts = [_plan_request(request, known, now) for request in group]
            began = perf_counter()
            outcomes = await self._insert(group, drafts, known, now)
            if outcomes is not None:
                log.debug("accept.committed", requests=len(group))
                _record_metrics(drafts, outcomes, perf_counter() - began)
                return outcomes
            known = None  # somebody has just changed endpoints
        raise Unavailable("The tenant's endpoints change too fast; try again in a moment.")

    async def _insert(
        self,
        group: list[_IntakeRequest],
        drafts: list[FanoutPlan | Refusal],
        known: Mapping[TenantId, CachedSubscriptions],
        now: datetime,
    ) -> list[IntakeResult | Exception] | None:
        """Write what was drafted; None, with nothing written, if it was drafted from what is no longer so."""
        versions = {tenant: kept.version for tenant, kept in known.items()}
        written = [drafted for drafted in drafts if isinstance(drafted, FanoutPlan)]
        if not written:
            return _build_results(group, drafts, {})
        alone = sum([len(drafted.deliveries) for drafted in written]) <= enqueue.INSERT_BATCH_SIZE
        if alone and not any(request.idempotency_key is not None for request in group):
            async with self._ledger.autocommit() as door:
                is_written = await enqueue.insert_events(
                    door,
                    *_collect_rows(written),
                    now=now,
                    expected_versions=versions,
                    traced=self._keep_traces,
                )
            return _build_results(group, drafts, {}) if is_written else None
        async with self._ledger.transaction() as tx:
            earlier = await self._find_duplicates(tx, group, drafts, now)
            fresh = [
                drafted
                for request, drafted in zip(group, drafts, strict=True)
                if isinstance(drafted, FanoutPlan) and id(request) not in earlier
            ]
            if fresh and not await enqueue.insert_events(
                tx, *_collect_rows(fresh), now=now, expected_versions=versions, traced=self._keep_traces
            ):
                await tx.rollback()
                return None
        return _build_results(group, drafts, earlier)

    async def _find_duplicates(
        self, tx: Transaction, group: list[_IntakeRequest], drafts: list[FanoutPlan | Refusal], now: datetime
    ) -> dict[int, IntakeResult | Exception]:
        """The outcomes of requests whose idempotency key was taken before them, here or anywhere."""
        keyed: dict[tuple[TenantId, str], list[tuple[_IntakeRequest, bytes]]] = {}
        for request, drafted in zip(group, drafts, strict=True):
            if request.idempotency_key is not None and isinstance(drafted, FanoutPlan):
                keyed.setdefault((request.tenant_id, request.idempotency_key), []).append(
                    (request, drafted.response_body)
                )
        if not keyed:
            return {}
        first = {key: requests[0] for key, requests in keyed.items()}
        fresh = await enqueue.insert_idempotency_keys(
            tx,
            [
                enqueue.IdempotencyKeyRow(tenant, key, request.request_sha256, answer, now)
                for (tenant, key), (request, answer) in first.items()
            ],
        )
        known = await enqueue.find_idempotency_keys(tx, list(keyed)) if len(fresh) < len(group) else {}
        return {
            id(request): _compare_with_known(request, known.get(key))
            for key, requests in keyed.items()
            for position, (request, _) in enumerate(requests)
            if key not in fresh or position > 0
        }


def _record_metrics(
    drafts: Sequence[FanoutPlan | Refusal], outcomes: Sequence[IntakeResult | Exception], seconds: float
) -> None:
    fresh = [
        drafted
        for drafted, outcome in zip(drafts, outcomes, strict=True)
        if isinstance(drafted, FanoutPlan) and isinstance(outcome, IntakeResult) and not outcome.replayed
    ]
    if fresh:
        events = sum([len(drafted.events) for drafted in fresh])
        deliveries = sum([len(drafted.deliveries) for drafted in fresh])
        metrics.count_accepted(events=events, deliveries=deliveries, seconds=seconds)


def _collect_rows(written: Sequence[FanoutPlan]) -> tuple[list[EventRow], list[DeliveryRow]]:
    events = [row for drafted in written for row in drafted.events]
    return events, [row for drafted in written for row in drafted.deliveries]


def _build_results(
    group: list[_IntakeRequest],
    drafts: list[FanoutPlan | Refusal],
    earlier: Mapping[int, IntakeResult | Exception],
) -> list[IntakeResult | Exception]:
    return [
        earlier.get(id(request)) or IntakeResult(drafted.response_body, replayed=False)
        if isinstance(drafted, FanoutPlan)
        else drafted
        for request, drafted in zip(group, drafts, strict=True)
    ]


def _plan_request(
    request: _IntakeRequest, known: Mapping[TenantId, CachedSubscriptions], now: datetime
) -> FanoutPlan | Refusal:
    if request.tenant_id not in known:
        return NotFound("tenant", format_id(Prefix.TENANT, request.tenant_id))
    owed = _match_request(request, known[request.tenant_id].subscriptions)
    # Counted before it is drafted: a thousand events for a thousand endpoints are a million rows.
    count = sum([len(matches) for matches in owed])
    if count > MAX_FANOUT:
        return TooLarge("The fan-out of this request", size=count, limit=MAX_FANOUT, unit="deliveries")
    return plan_fanout(
        request.tenant_id,
        request.events,
        owed,
        single=request.single,
        now=now,
        new_id=new_id,
        idempotency_key=request.idempotency_key,
        traceparent=request.traceparent,
    )


def _match_request(request: _IntakeRequest, subscriptions: Subscriptions) -> list[Sequence[Match]]:
    """To whom each event is owed; what is for one endpoint is for that one, whatever it asks for."""
    if request.only_endpoint_id is not None:
        return [[Match(request.only_endpoint_id, None)] for _ in request.events]
    if not request.condition_evaluators:
        return [subscriptions.match_event(event) for event in request.events]
    both = zip(request.events, request.condition_evaluators, strict=True)
    return [subscriptions.match_event(event, answers) for event, answers in both]


async def _evaluate_conditions(request: _IntakeRequest, known: CachedSubscriptions) -> None:
    """Ask about the events what their endpoints' conditions ask and was not asked yet, with pauses."""
    if request.only_endpoint_id is not None:
        return
    subscriptions = known.subscriptions
    if not request.condition_evaluators:
        request.condition_evaluators.extend([ConditionEvaluator(event.data) for event in request.events])
    turn_ends = perf_counter() + _YIELD_INTERVAL_SECONDS
    for event, answers in zip(request.events, request.condition_evaluators, strict=True):
        for condition in subscriptions.list_conditions(event):
            answers.evaluate(condition)
            if perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _YIELD_INTERVAL_SECONDS
        answers.forget_payload()


def _compare_with_known(
    request: _IntakeRequest, known: tuple[bytes, bytes] | None
) -> IntakeResult | Exception:
    if known is None:  # forgotten between the two statements: its time was over
        return Unavailable("This Idempotency-Key is just being forgotten; try again.")
    request_sha256, answer = known
    if request.request_sha256 == request_sha256:
        return IntakeResult(answer, replayed=True)
    return Conflict(
        "This Idempotency-Key was used before with another request. Use a new key for a new event."
    )
