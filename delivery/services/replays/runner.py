"""The steps of replay jobs: find matching deliveries, update the states of released ones, release more.

A step is one transaction that locks the job's row. A step that fails has changed nothing; the job becomes due
again, and the next step goes on where the last one ended.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from delivery.domain import replay
from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.delivery import Priority
from delivery.domain.ids import DeliveryId, Prefix, format_id, new_id
from delivery.domain.pagination import MIN_ID, PageRequest
from delivery.domain.replay import ItemState, MissingEventFilter, ReleaseAction, ReplayState
from delivery.ledger.queue import eligibility, enqueue
from delivery.ledger.records import journal
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.replays import items, jobs, recall_items, release_items
from delivery.ledger.search import missing, search
from delivery.log import get_logger
from delivery.services.replays.validation import NEVER_MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from delivery.domain.holds import EndpointStatus
    from delivery.domain.ids import EndpointId, EventId, ReplayId
    from delivery.domain.replay import ReleaseQuota
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.replays.items import ItemStateChange
    from delivery.ledger.replays.jobs import ReplayStep
    from delivery.ledger.replays.release_items import WaitingItem

log = get_logger()

# Small batches: a step shares the event loop with deliveries, and the ledger with all other work.
FIND_BATCH_SIZE: Final = 250
RELEASE_BATCH_SIZE: Final = 250
ENDPOINTS_BATCH_SIZE: Final = 200
RECHECK_BATCH_SIZE: Final = 2_000
RECALL_BATCH_SIZE: Final = 2_000
CANCEL_BATCH_SIZE: Final = 10_000


class ReplayRunner:
    """Takes steps of jobs, one at a time in each process, since workers are there to deliver."""

    def __init__(self, ledger: Ledger, *, default_max_in_flight: int) -> None:
        """`default_max_in_flight` applies to endpoints without a limit of their own."""
        self._ledger = ledger
        self._default_max_in_flight = default_max_in_flight
        self._step_lock = asyncio.Lock()
        self._requested: set[ReplayId] = set()
        self._closed = False

    async def step(self, replay_id: ReplayId) -> None:
        """Take a step of this job, unless one is under way. Raises Unavailable."""
        if replay_id in self._requested:
            return
        self._requested.add(replay_id)
        try:
            async with self._step_lock:
                if not self._closed:
                    await self._take_step(replay_id)
        finally:
            self._requested.discard(replay_id)

    def close(self) -> None:
        """Start no more steps; other workers take them."""
        self._closed = True

    async def wait_until_idle(self) -> None:
        """Wait until no step is running."""
        async with self._step_lock:
            return

    async def _take_step(self, replay_id: ReplayId) -> None:
        async with self._ledger.transaction() as tx:
            step = await jobs.begin_step(tx, replay_id)
            if step is None:
                return
            before = dict(step.counts)
            match step.state:
                case ReplayState.RUNNING:
                    await self._advance_running(tx, step)
                case ReplayState.PAUSED:
                    await self._recall_queued(tx, step, ItemState.WAITING)
                case ReplayState.CANCELLING:
                    await self._recall_queued(tx, step, ItemState.CANCELLED)
                    cancelled = await recall_items.cancel_waiting(tx, replay_id, limit=CANCEL_BATCH_SIZE)
                    step.move_items(ItemState.WAITING, ItemState.CANCELLED, cancelled)
                    if not any(step.counts.get(state) for state in replay.OPEN_ITEM_STATES):
                        step.state = ReplayState.CANCELLED
                case _:
                    return
            await self._finish_step(tx, step, before)
        if step.state is not step.replay.state:
            log.info("replay.over", replay_id=format_id(Prefix.REPLAY, replay_id), state=step.state)

    async def _advance_running(self, tx: Transaction, step: ReplayStep) -> None:
        if not step.selected:
            await self._find_items(tx, step)
        endpoints = await self._next_endpoints(tx, step)
        await self._recheck_items(tx, step, endpoints)
        released = await self._release_items(tx, step, endpoints)
        await enqueue.notify_due(
            tx, {(step.replay.tenant_id, endpoint) for endpoint in released}, priority=Priority.REPLAY
        )
        if step.selected and not any(step.counts.get(state) for state in replay.OPEN_ITEM_STATES):
            step.state = ReplayState.FINISHED

    async def _recall_queued(self, tx: Transaction, step: ReplayStep, target: ItemState) -> None:
        """Take queued deliveries back, and update the states of those in flight."""
        cancel = target is ItemState.CANCELLED
        moved = await recall_items.recall_items(
            tx, step.replay.id, target, include_retrying=cancel, limit=RECALL_BATCH_SIZE
        )
        _count_moves(step, moved)
        endpoints = await self._next_endpoints(tx, step)
        await self._recheck_items(tx, step, endpoints)

    async def _find_items(self, tx: Transaction, step: ReplayStep) -> None:
        page_request = PageRequest.from_cursor(FIND_BATCH_SIZE, step.cursor, oldest_first=True)
        tenant_id, selection = step.replay.tenant_id, step.replay.selection
        rows: list[tuple[UUID, EndpointId, EventId]]
        if isinstance(selection, MissingEventFilter):
            events = await missing.read_page(
                tx, tenant_id, selection, page_request, excluded_types=NEVER_MISSING
            )
            rows, last = (
                [(event.id, selection.endpoint_id, event.id) for event in events.items],
                events.next_cursor,
            )
        else:
            prepared = await search.prepare_search(
                tx, tenant_id, selection, default_max_in_flight=self._default_max_in_flight
            )
            page = await search.read_page(tx, prepared, page_request)
            rows, last = (
                [(delivery.id, delivery.endpoint_id, delivery.event_id) for delivery in page.items],
                page.next_cursor,
            )
        step.move_items(None, ItemState.WAITING, await items.add_items(tx, step.replay.id, rows))
        step.cursor = last or step.cursor
        step.selected = last is None

    async def _next_endpoints(self, tx: Transaction, step: ReplayStep) -> list[EndpointId]:
        """The next endpoints that have queued or waiting items."""
        after = step.after_endpoint or MIN_ID
        endpoint_ids: set[EndpointId] = set()
        for state in (ItemState.QUEUED, ItemState.WAITING):
            endpoint_ids.update(
                await items.find_endpoints(tx, step.replay.id, state, after=after, limit=ENDPOINTS_BATCH_SIZE)
            )
        endpoints = sorted(endpoint_ids)[:ENDPOINTS_BATCH_SIZE]
        step.after_endpoint = endpoints[-1] if len(endpoints) == ENDPOINTS_BATCH_SIZE else None
        return endpoints

    async def _recheck_items(
        self, tx: Transaction, step: ReplayStep, endpoints: Sequence[EndpointId]
    ) -> None:
        if step.counts.get(ItemState.QUEUED) and endpoints:
            _count_moves(step, await items.settle_queued(tx, step.replay.id, endpoints))
        if step.counts.get(ItemState.RETRYING):
            moved, step.retry_cursor = await items.settle_retrying(
                tx, step.replay.id, step.retry_cursor or (MIN_ID, MIN_ID), limit=RECHECK_BATCH_SIZE
            )
            _count_moves(step, moved)

    async def _release_items(
        self, tx: Transaction, step: ReplayStep, endpoints: Sequence[EndpointId]
    ) -> set[EndpointId]:
        """Queue more deliveries of these endpoints; returns the endpoints of those queued."""
        if not step.counts.get(ItemState.WAITING) or not endpoints:
            return set()
        quotas = dict(zip(endpoints, await self._plan_turns(tx, step, endpoints), strict=True))
        release_limit = replay.compute_release_limit(
            step.replay.rate, step.paced_at, step.now, limit=RELEASE_BATCH_SIZE
        )
        counts = _share_out(
            {e: quota.count for e, quota in quotas.items() if quota.skip_reason is None}, release_limit
        )
        if release_limit < sum(1 for quota in quotas.values() if quota.count and quota.skip_reason is None):
            # Not every endpoint got one; the others come first in the next step.
            step.after_endpoint = max(counts, default=step.after_endpoint)
        skipped = {e: quota for e, quota in quotas.items() if quota.skip_reason is not None}
        counts |= _share_out({e: quota.count for e, quota in skipped.items()}, RELEASE_BATCH_SIZE)
        waiting = await release_items.lock_waiting(tx, step.replay.id, list(counts.items())) if counts else []
        skip_reasons = {e: quota.skip_reason for e, quota in skipped.items() if quota.skip_reason is not None}
        sent, sent_to = await self._apply_releases(tx, step, waiting, skip_reasons)
        step.paced_at = replay.compute_paced_until(step.replay.rate, step.paced_at, step.now, released=sent)
        return sent_to

    async def _plan_turns(
        self, tx: Transaction, step: ReplayStep, endpoints: Sequence[EndpointId]
    ) -> list[ReleaseQuota]:
        statuses: dict[EndpointId, EndpointStatus] = await eligibility.load_statuses(tx, endpoints)
        queued = await items.count_queued(tx, step.replay.id, endpoints)
        far_ahead = replay.is_far_ahead(step.counts.get(ItemState.QUEUED, 0), step.replay.per_second)
        return [
            replay.compute_release_quota(
                statuses.get(endpoint),
                hold=step.replay.hold,
                queued=queued.get(endpoint, 0),
                far_ahead=far_ahead,
            )
            for endpoint in endpoints
        ]

    async def _apply_releases(
        self,
        tx: Transaction,
        step: ReplayStep,
        waiting: Sequence[WaitingItem],
        skip_reasons: dict[EndpointId, str],
    ) -> tuple[int, set[EndpointId]]:
        """Release or skip these items; returns how many were queued, and their endpoints."""
        replay_id = step.replay.id
        reason = f"replayed by {format_id(Prefix.REPLAY, replay_id)}"
        by_release: dict[ReleaseAction, list[WaitingItem]] = defaultdict(list)
        skipped: list[tuple[UUID, str]] = []
        for item in waiting:
            release, skip_reason = replay.decide_release(
                item.status, has_payload=item.has_content, was_owed=item.has_delivery
            )
            skip_reason = skip_reasons.get(item.endpoint_id, skip_reason)
            if skip_reason is not None:
                skipped.append((item.delivery_id, skip_reason))
            else:
                by_release[release].append(item)
        created = await self._create_deliveries(tx, step, by_release[ReleaseAction.CREATE], skipped, reason)
        reopened, advanced = by_release[ReleaseAction.REOPEN], by_release[ReleaseAction.ADVANCE]
        if reopened:
            await release_items.reopen_deliveries(tx, replay_id, _collect_ids(reopened), reason=reason)
        if advanced:
            await release_items.advance_deliveries(tx, replay_id, _collect_ids(advanced))
        joined = 0
        if by_release[ReleaseAction.JOIN]:
            joined = await release_items.adopt_scheduled(
                tx, replay_id, _collect_ids(by_release[ReleaseAction.JOIN])
            )
        if skipped:
            await release_items.skip_items(tx, replay_id, skipped)
            step.move_items(ItemState.WAITING, ItemState.SKIPPED, len(skipped))
        sent = [*created, *reopened, *advanced]
        step.move_items(ItemState.WAITING, ItemState.QUEUED, len(sent) + joined)
        return len(sent), {item.endpoint_id for item in sent}

    async def _create_deliveries(
        self,
        tx: Transaction,
        step: ReplayStep,
        waiting: Sequence[WaitingItem],
        skipped: list[tuple[UUID, str]],
        reason: str,
    ) -> list[WaitingItem]:
        """Create deliveries of missing events, and skip those that another job has created meanwhile."""
        if not waiting:
            return []
        endpoint_id = waiting[0].endpoint_id  # such a job has one endpoint
        owed = await release_items.find_already_owed(tx, endpoint_id, [item.event_id for item in waiting])
        skipped += [(item.delivery_id, "owed_meanwhile") for item in waiting if item.event_id in owed]
        missing_items = [item for item in waiting if item.event_id not in owed]
        pairs = [(DeliveryId(new_id()), item.event_id) for item in missing_items]
        await release_items.create_deliveries(tx, step.replay.id, endpoint_id, pairs, reason=reason)
        return missing_items

    async def _finish_step(self, tx: Transaction, step: ReplayStep, before: dict[ItemState, int]) -> None:
        ended = _count_done(step.counts) - _count_done(before)
        elapsed = step.now - step.replay.counted_at
        per_second = replay.average_speed(step.replay.per_second, ended=ended, elapsed=elapsed)
        pause = replay.compute_step_delay(
            step.state,
            step.counts,
            selecting=not step.selected,
            progressed=step.counts != before,
            per_second=per_second,
        )
        await jobs.end_step(tx, step, per_second=per_second, pause=pause)
        if step.state is ReplayState.FINISHED:
            await journal.append(tx, [_build_finished_entry(step)])


def _build_finished_entry(step: ReplayStep) -> JournalEntry:
    return JournalEntry(
        tenant_id=step.replay.tenant_id,
        action="replay.finished",
        actor=ENGINE_ACTOR,
        at=step.now,
        details={
            "replay_id": format_id(Prefix.REPLAY, step.replay.id),
            **{name: count for name, count in step.counts.items() if count},
        },
    )


def _share_out(needs: dict[EndpointId, int], limit: int) -> dict[EndpointId, int]:
    counts = replay.share_evenly(list(needs.values()), limit)
    return {endpoint: count for endpoint, count in zip(needs, counts, strict=True) if count}


def _count_moves(step: ReplayStep, moved: Iterable[ItemStateChange]) -> None:
    for change in moved:
        step.move_items(change.before, change.after, change.count)


def _count_done(counts: dict[ItemState, int]) -> int:
    return sum(count for state, count in counts.items() if state not in replay.OPEN_ITEM_STATES)


def _collect_ids(waiting: Sequence[WaitingItem]) -> list[DeliveryId]:
    return [item.delivery_id for item in waiting]
