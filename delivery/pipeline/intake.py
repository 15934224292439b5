"""Intake: accepts events and writes their deliveries, in transactions that concurrent requests share.

While one transaction is on its way to the disk, the next group gathers. A request is answered only after the
commit that holds its events.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from delivery.domain.errors import Invalid, TooLarge, Unavailable
from delivery.ledger.queue import enqueue
from delivery.log import get_logger
from delivery.pipeline.fanout import FanoutPlan
from delivery.pipeline.group_commit import GroupCommit, GroupLimits
from delivery.pipeline.idempotency import find_earlier_result, store_idempotency_keys
from delivery.pipeline.intake_request import (
    IntakeRequest,
    IntakeResult,
    evaluate_conditions,
    plan_request,
)
from delivery.pipeline.subscription_cache import SubscriptionCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.errors import Refusal
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.fast_path import Executor
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.parsing import IntakeLimits, NewEvent
    from delivery.pipeline.schema_cache import SchemaCache
    from delivery.pipeline.subscription_cache import CachedSubscriptions

log = get_logger()

# When more requests wait, an honest "try again" is better than a longer queue in memory.
MAX_WAITING_REQUESTS = 4_000
MAX_WAITING_BYTES = 1 << 28
# A transaction that writes more keeps everybody waiting longer than it saves.
MAX_GROUP_EVENTS = 1_000
MAX_GROUP_BYTES = 1 << 23
# Two, so that one group is planned while the other's commit reaches the disk. The second starts only for a
# group that is worth a commit of its own or has waited this long; smaller ones gather more requests.
MAX_CONCURRENT_COMMITS = 2
EAGER_COMMIT_EVENTS, EAGER_COMMIT_BYTES = 100, 1 << 18
MAX_LINGER_SECONDS = 0.1
# Optimistic-lock conflicts with changes of endpoints before a group fails.
_MAX_WRITE_TRIES = 5


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
        count_accepted: Callable[..., None] | None = None,
    ) -> None:
        """Without a `schema_cache` no event is validated; `keep_traces` stores the traces of requests.

        `count_accepted` counts each commit: its `events`, `deliveries` and `seconds`.
        """
        self.limits = limits
        self._ledger = ledger
        self._clock = clock
        self._schema_cache = schema_cache
        self._keep_traces = keep_traces
        self._count_accepted = count_accepted
        self._subscription_cache = SubscriptionCache()
        self._checking_requests = 0
        self._checking_bytes = 0
        self._commits: GroupCommit[IntakeRequest, IntakeResult] = GroupCommit(
            self._commit,
            GroupLimits(
                max_count=MAX_GROUP_EVENTS,
                max_bytes=MAX_GROUP_BYTES,
                max_concurrent=MAX_CONCURRENT_COMMITS,
                eager_count=EAGER_COMMIT_EVENTS,
                eager_bytes=EAGER_COMMIT_BYTES,
                linger_seconds=MAX_LINGER_SECONDS,
            ),
        )

    async def accept_events(  # noqa: PLR0913  the parts of a request, each by its name
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
        """Write the events and their deliveries; return after the commit.

        Raises Invalid for an event that violates its type's schema, TooLarge for too wide a fan-out, Conflict
        for an idempotency key that was used with another request, NotFound for an unknown tenant, and
        Unavailable when the ledger does not answer or too many requests wait. When a connection breaks, the
        commit may have happened: repeating the request with the same idempotency key tells.
        """
        request = IntakeRequest(
            tenant_id,
            events,
            single,
            idempotency_key,
            request_sha256,
            only_endpoint_id,
            traceparent,
            sum([len(event.data) for event in events]),
        )
        try:
            return await self._admit(request)
        except (Invalid, TooLarge):
            # Schemas and endpoints may have changed since this request was accepted under its key.
            earlier = await find_earlier_result(self._ledger, request)
            if earlier is None:
                raise
            return earlier

    async def _admit(self, request: IntakeRequest) -> IntakeResult:
        """Validate a request, evaluate its conditions, and submit it to the next commit."""
        self._refuse_when_full(request.size)
        if self._schema_cache is not None:
            with self._count_as_waiting(request.size):
                await self._schema_cache.check_events(request.events, single=request.single)
        cached = self._subscription_cache.get_cached_tenant(request.tenant_id)
        if cached is not None and cached.subscriptions.has_conditions:
            # Evaluated before the commit, so that no other request waits for it; the commit evaluates only
            # conditions that have changed since.
            with self._count_as_waiting(request.size):
                await evaluate_conditions(request, cached.subscriptions)
        return await self._commits.submit(request, count=len(request.events), size=request.size)

    def _refuse_when_full(self, size: int) -> None:
        if (
            len(self._commits) + self._checking_requests >= MAX_WAITING_REQUESTS
            or self._commits.waiting_bytes + self._checking_bytes + size > MAX_WAITING_BYTES
        ):
            raise Unavailable("Too many requests wait for the ledger; try again in a moment.")

    @contextmanager
    def _count_as_waiting(self, size: int) -> Iterator[None]:
        """Count a request among the waiting ones while its events are checked."""
        self._checking_requests += 1
        self._checking_bytes += size
        try:
            yield
        finally:
            self._checking_requests -= 1
            self._checking_bytes -= size

    async def _commit(self, group: list[IntakeRequest]) -> list[IntakeResult | Exception]:
        """Write a group, planned again whenever endpoints have changed since their subscriptions were cached.

        Raises Unavailable after 5 such conflicts.
        """
        log.debug("accept.began", requests=len(group))
        tenant_ids = {request.tenant_id for request in group}
        cached = self._subscription_cache.get_cached(tenant_ids)
        for _ in range(_MAX_WRITE_TRIES):
            if cached is None:
                async with self._ledger.transaction() as tx:
                    cached = await self._subscription_cache.load_subscriptions(tx, tenant_ids)
            for request in group:
                tenant = cached.get(request.tenant_id)
                if tenant is not None and tenant.subscriptions.has_conditions:
                    await evaluate_conditions(request, tenant.subscriptions)
            now = self._clock()
            plans = [plan_request(request, cached, now) for request in group]
            began = perf_counter()
            results = await self._write(group, plans, cached, now)
            if results is not None:
                log.debug("accept.committed", requests=len(group))
                self._count_commit(plans, results, perf_counter() - began)
                return results
            cached = None
        raise Unavailable("The tenant's endpoints change too fast; try again in a moment.")

    async def _write(
        self,
        group: list[IntakeRequest],
        plans: list[FanoutPlan | Refusal],
        cached: Mapping[TenantId, CachedSubscriptions],
        now: datetime,
    ) -> list[IntakeResult | Exception] | None:
        """Write the plans; None, with nothing written, if they were made from outdated subscriptions."""
        accepted = [plan for plan in plans if isinstance(plan, FanoutPlan)]
        if not accepted:
            return _build_results(group, plans, {})
        versions = {tenant: subscriptions.version for tenant, subscriptions in cached.items()}
        fits_one_statement = sum([len(plan.deliveries) for plan in accepted]) <= enqueue.INSERT_BATCH_SIZE
        if fits_one_statement and not any(request.idempotency_key is not None for request in group):
            async with self._ledger.autocommit() as connection:
                is_written = await self._insert(connection, accepted, versions, now)
            return _build_results(group, plans, {}) if is_written else None
        async with self._ledger.transaction() as tx:
            duplicates = await store_idempotency_keys(tx, group, plans, now=now)
            fresh = [
                plan
                for request, plan in zip(group, plans, strict=True)
                if isinstance(plan, FanoutPlan) and id(request) not in duplicates
            ]
            if fresh and not await self._insert(tx, fresh, versions, now):
                await tx.rollback()
                return None
        return _build_results(group, plans, duplicates)

    async def _insert(
        self,
        executor: Executor,
        plans: Sequence[FanoutPlan],
        versions: Mapping[TenantId, int],
        now: datetime,
    ) -> bool:
        return await enqueue.insert_events(
            executor,
            [row for plan in plans for row in plan.events],
            [row for plan in plans for row in plan.deliveries],
            now=now,
            expected_versions=versions,
            traced=self._keep_traces,
        )

    def _count_commit(
        self,
        plans: Sequence[FanoutPlan | Refusal],
        results: Sequence[IntakeResult | Exception],
        seconds: float,
    ) -> None:
        fresh = [
            plan
            for plan, result in zip(plans, results, strict=True)
            if isinstance(plan, FanoutPlan) and isinstance(result, IntakeResult) and not result.replayed
        ]
        if fresh and self._count_accepted is not None:
            events = sum([len(plan.events) for plan in fresh])
            deliveries = sum([len(plan.deliveries) for plan in fresh])
            self._count_accepted(events=events, deliveries=deliveries, seconds=seconds)


def _build_results(
    group: list[IntakeRequest],
    plans: list[FanoutPlan | Refusal],
    duplicates: Mapping[int, IntakeResult | Exception],
) -> list[IntakeResult | Exception]:
    return [
        duplicates.get(id(request)) or IntakeResult(plan.response_body, replayed=False)
        if isinstance(plan, FanoutPlan)
        else plan
        for request, plan in zip(group, plans, strict=True)
    ]
