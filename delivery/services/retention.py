"""Retention: deletes expired data in small steps; a run takes a bounded number of them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from delivery.domain import retention
from delivery.domain.ids import build_min_id
from delivery.domain.retention import DayPartition, RetainedData, TenantPrune
from delivery.ledger.db.partitions import day_id_bounds
from delivery.ledger.retention import prune_rows
from delivery.ledger.retention.drop_partitions import PartitionDropper, PartitionFate
from delivery.ledger.retention.prune_rows import MAX_OWED_EVENTS, NIL_UUID, PRUNE_BATCH_SIZE, IdRange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.domain.retention import RetentionPeriods, RetentionPlan
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.retention.prune_rows import PruneStep

    PruneFunction = Callable[..., Awaitable[PruneStep]]


@dataclass(frozen=True, slots=True)
class PruneLimits:
    """The maximum steps of a run, the pause before each, and how long to wait for readers of a partition.

    `owed_batch_size` is how many ids of owed events are loaded at once.
    """

    max_steps: int = 500
    pause: timedelta = timedelta(milliseconds=50)
    reader_timeout: timedelta = timedelta(seconds=60)
    owed_batch_size: int = MAX_OWED_EVENTS


@dataclass(slots=True)
class RetentionReport:
    """What a run did. `more`: it used all its steps; `owed` and `busy` are days that were left for later."""

    dropped: list[str] = field(default_factory=list)
    owed: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    payloads: int = 0
    attempts: int = 0
    deliveries: int = 0
    events: int = 0
    replays: int = 0
    more: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict, for the log."""
        return asdict(self)

    @property
    def did_something(self) -> bool:
        """Whether anything was deleted."""
        return any((self.dropped, self.payloads, self.attempts, self.deliveries, self.events, self.replays))


class RetentionService:
    """Deletes expired data, and remembers what it has checked today."""

    def __init__(
        self,
        ledger: Ledger,
        periods: RetentionPeriods,
        *,
        clock: Callable[[], datetime],
        limits: PruneLimits | None = None,
    ) -> None:
        """`periods` are the operator's; tenants may have shorter ones."""
        self._ledger = ledger
        self._periods = periods
        self._clock = clock
        self._limits = limits or PruneLimits()
        self._seen = _Progress()

    async def preview_plan(self) -> RetentionPlan:
        """Plan what has expired; nothing is changed."""
        days = await PartitionDropper.open(self._ledger, statement_timeout=self._limits.reader_timeout)
        try:
            return await self._build_plan(days, self._clock())
        finally:
            await days.close()

    async def run(self) -> RetentionReport | None:
        """Delete expired data within the limits of a run. None: another process is running."""
        days = await PartitionDropper.open(self._ledger, statement_timeout=self._limits.reader_timeout)
        try:
            if not await days.try_lock():
                return None
            run = _Run(self._ledger, days, self._limits, self._seen)
            await run.finish_interrupted()
            now = self._clock()
            await run.execute(await self._build_plan(days, now), today=now.astimezone(UTC).date())
            return run.report
        finally:
            await days.close()

    async def _build_plan(self, partitions: PartitionDropper, now: datetime) -> RetentionPlan:
        async with self._ledger.transaction() as tx:
            tenants = await prune_rows.load_tenant_retention(tx)
        return retention.build_plan(self._periods, now, await partitions.list_partitions(), tenants)


@dataclass(slots=True)
class _Walk:
    """The progress of a walk over ids: the last id seen, and the first that had to be skipped."""

    last_seen: UUID
    changed: int = 0
    ended: bool = False
    first_spared: UUID | None = None

    def add(self, step: PruneStep) -> None:
        self.last_seen = step.last_id
        self.changed += step.changed
        self.ended = not step.is_full
        self.first_spared = self.first_spared or step.first_skipped


@dataclass(slots=True)
class _Progress:
    """What need not be checked again: today, or ever for payloads of a tenant (`cleared_until`).

    `walks` are those that a run could not finish. It is in memory: a new process checks everything once more.
    """

    today: date | None = None
    days: set[DayPartition] = field(default_factory=set)
    thin: set[TenantPrune] = field(default_factory=set)
    cleared_until: dict[TenantId, UUID] = field(default_factory=dict)
    walks: dict[DayPartition | TenantPrune, _Walk] = field(default_factory=dict)

    def start_day(self, today: date) -> None:
        """Check everything again on a new day."""
        if today != self.today:
            self.today = today
            self.days.clear()
            self.thin.clear()
            self.walks.clear()


class _Run:
    """One run: follows a plan until it is done or its steps are used up."""

    def __init__(
        self, ledger: Ledger, partitions: PartitionDropper, limits: PruneLimits, progress: _Progress
    ) -> None:
        self._ledger = ledger
        self._partitions = partitions
        self._pause_seconds = limits.pause.total_seconds()
        self._steps_left = limits.max_steps
        self._owed_batch_size = limits.owed_batch_size
        self._progress = progress
        self._busy: set[DayPartition] = set()
        self.report = RetentionReport()

    async def finish_interrupted(self) -> None:
        """Finish drops that an earlier run left half done."""
        for day, fate in await self._partitions.finish_pending():
            self._record_fate(day, fate)

    async def execute(self, plan: RetentionPlan, *, today: date) -> None:
        """Carry out the plan, whole days first, which are cheapest."""
        self._progress.start_day(today)
        for group in plan.drops:
            await self._drop_group(group)
        for day in plan.payload_days:
            await self._clear_day_payloads(day)
        for task in plan.tenant_prunes:
            await self._prune(task)
        await self._delete_replays(plan.replays_before)

    async def _drop_group(self, group: tuple[DayPartition, ...]) -> None:
        # The indexes of deliveries stay as long as the deliveries. While one partition of a table is being
        # detached, no other partition of it can be.
        for day in group:
            if any(busy.table == day.table or busy.day == day.day for busy in self._busy):
                return
            fate = await self._partitions.drop_day(day)
            self._record_fate(day, fate)
            if fate is not PartitionFate.DROPPED:
                return

    def _record_fate(self, day: DayPartition, fate: PartitionFate) -> None:
        match fate:
            case PartitionFate.DROPPED:
                self.report.dropped.append(day.name)
            case PartitionFate.OWED:
                self.report.owed.append(day.name)
            case PartitionFate.BUSY:
                self._busy.add(day)
                self.report.busy.append(day.name)

    async def _clear_day_payloads(self, day: DayPartition) -> None:
        if day in self._progress.days:
            return
        walk = await self._walk_events(day, IdRange(*day_id_bounds(day.day)), prune_rows.prune_bodies)
        self.report.payloads += walk.changed
        if walk.ended:
            self._progress.days.add(day)
            if walk.first_spared is None:
                await self._partitions.mark_without_payload(day)

    async def _prune(self, task: TenantPrune) -> None:
        if task in self._progress.thin:
            return
        span = IdRange(NIL_UUID, day_id_bounds(task.before)[0], task.tenant_id)
        match task.data:
            case RetainedData.PAYLOAD:
                ended = await self._clear_tenant_payloads(task, span)
            case RetainedData.ATTEMPTS:
                ended = await self._prune_attempts(task.tenant_id, span)
            case RetainedData.DELIVERIES:
                walk = await self._walk(task, span, prune_rows.prune_deliveries)
                self.report.deliveries += walk.changed
                ended = await self._delete_replays(task.before, task.tenant_id) and walk.ended
            case RetainedData.EVENTS:
                walk = await self._walk_events(task, span, prune_rows.prune_events)
                self.report.events += walk.changed
                ended = walk.ended
            case _:
                raise AssertionError(task)  # tenants cannot shorten other kinds
        if ended:
            self._progress.thin.add(task)

    async def _clear_tenant_payloads(self, task: TenantPrune, id_range: IdRange) -> bool:
        begin = self._progress.cleared_until.get(task.tenant_id, id_range.after)
        walk = await self._walk_events(task, replace(id_range, after=begin), prune_rows.prune_bodies)
        self.report.payloads += walk.changed
        bare = walk.last_seen if walk.first_spared is None else _previous_id(walk.first_spared)
        self._progress.cleared_until[task.tenant_id] = max(begin, bare)
        return walk.ended

    async def _prune_attempts(self, tenant_id: TenantId, id_range: IdRange) -> bool:
        endpoints: list[EndpointId] = []
        while await self._take_step():
            async with self._ledger.transaction() as tx:
                after = endpoints[-1] if endpoints else NIL_UUID
                endpoints = await prune_rows.read_endpoint_ids(tx, tenant_id, after=after)
            if not endpoints:
                return True
            if not await self._prune_endpoint_attempts(endpoints, before=id_range.before):
                return False
        return False

    async def _prune_endpoint_attempts(self, endpoints: list[EndpointId], *, before: UUID) -> bool:
        while await self._take_step():
            async with self._ledger.transaction() as tx:
                gone = await prune_rows.prune_attempts(tx, endpoints, before=before)
            self.report.attempts += gone
            if gone < PRUNE_BATCH_SIZE:
                return True
        return False

    async def _delete_replays(self, before: date, tenant_id: TenantId | None = None) -> bool:
        moment = datetime.combine(before, time(), tzinfo=UTC)
        while await self._take_step():
            async with self._ledger.transaction() as tx:
                old = await prune_rows.find_old_replay(
                    tx, floor=build_min_id(moment), before=moment, tenant_id=tenant_id
                )
                if old is None:
                    return True
                self.report.replays += await prune_rows.prune_replay(tx, old)
        return False

    async def _walk_events(
        self, key: DayPartition | TenantPrune, id_range: IdRange, change: PruneFunction
    ) -> _Walk:
        """Walk over events and skip those still owed, whose ids are loaded in pages."""
        walk = self._start_walk(key, id_range)
        while not walk.ended and await self._take_step():
            async with self._ledger.transaction() as tx:
                owed, loaded_until = await prune_rows.find_owed_events(
                    tx, replace(id_range, after=walk.last_seen), limit=self._owed_batch_size
                )
            part = replace(id_range, before=min(id_range.before, _next_id(loaded_until)))
            part_done = await self._continue_walk(walk, part, partial(change, owed=owed))
            if part_done and loaded_until < id_range.before:
                walk.ended, walk.last_seen = False, loaded_until
        return self._save_walk(key, walk)

    async def _walk(
        self,
        key: TenantPrune,
        id_range: IdRange,
        step: Callable[[Transaction, IdRange], Awaitable[PruneStep]],
    ) -> _Walk:
        walk = self._start_walk(key, id_range)
        await self._continue_walk(walk, id_range, step)
        return self._save_walk(key, walk)

    async def _continue_walk(
        self, walk: _Walk, id_range: IdRange, step: Callable[[Transaction, IdRange], Awaitable[PruneStep]]
    ) -> bool:
        while not walk.ended and await self._take_step():
            async with self._ledger.transaction() as tx:
                walk.add(await step(tx, replace(id_range, after=walk.last_seen)))
        return walk.ended

    def _start_walk(self, key: DayPartition | TenantPrune, id_range: IdRange) -> _Walk:
        """Start a walk, or continue one that an earlier run did not finish."""
        earlier = self._progress.walks.pop(key, None)
        return _Walk(id_range.after) if earlier is None else replace(earlier, changed=0)

    def _save_walk(self, key: DayPartition | TenantPrune, walk: _Walk) -> _Walk:
        if not walk.ended:
            self._progress.walks[key] = walk
        return walk

    async def _take_step(self) -> bool:
        """Whether a step is left; pauses before each, so that other work comes first."""
        if not self._steps_left:
            self.report.more = True
            return False
        self._steps_left -= 1
        await asyncio.sleep(self._pause_seconds)
        return True


def _next_id(id_: UUID) -> UUID:
    return UUID(int=id_.int + 1)


def _previous_id(id_: UUID) -> UUID:
    return UUID(int=id_.int - 1)
