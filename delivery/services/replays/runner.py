"""A step of a replay job: find more of what it means, see what came of what went out, send more.

A step is one transaction that holds the job's row. Whatever dies in the middle of it, nothing has happened;
and since the job is due again all the same, another step goes on where the last one ended.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import structlog

from delivery import jobs
from delivery.jobs import ItemState, MissingSelection, Release, ReplayState
from delivery.ledger import (
    accepting,
    journal,
    missing,
    replay_items,
    replay_recall,
    replay_release,
    replays,
    search,
    situations,
)
from delivery.ledger.journal import ENGINE, Entry
from delivery.model import DeliveryId, Lane, Prefix, new_id, show_id
from delivery.paging import OLDEST, Cut
from delivery.replay.terms import NEVER_MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from delivery.holding import Situation
    from delivery.jobs import Turn
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.replay_items import Moved
    from delivery.ledger.replay_release import Waiting
    from delivery.ledger.replays import Step
    from delivery.model import EndpointId, EventId, ReplayId

log = structlog.get_logger()

# Few: a step runs on the loop that delivers, and beside other statements of the ledger.
FOUND_AT_ONCE: Final = 250
RELEASED_AT_ONCE: Final = 250
ENDPOINTS_AT_ONCE: Final = 200
LOOKED_AT_AGAIN: Final = 2_000
TAKEN_BACK_AT_ONCE: Final = 2_000
GIVEN_UP_AT_ONCE: Final = 10_000


class Advancer:
    """Takes steps of jobs, one at a time in each process: a worker is there to deliver."""

    def __init__(self, ledger: Ledger, *, in_flight: int) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._in_flight = in_flight
        self._turn = asyncio.Lock()
        self._asked: set[ReplayId] = set()
        self._closed = False

    async def step(self, replay_id: ReplayId) -> None:
        """Take a step of this job, unless one is under way. Raises Unavailable."""
        if replay_id in self._asked:
            return
        self._asked.add(replay_id)
        try:
            async with self._turn:
                if not self._closed:
                    await self._step(replay_id)
        finally:
            self._asked.discard(replay_id)

    def close(self) -> None:
        """Begin no more steps: other workers take them."""
        self._closed = True

    async def settle(self) -> None:
        """Return once no step is under way."""
        async with self._turn:
            return

    async def _step(self, replay_id: ReplayId) -> None:
        async with self._ledger.transaction() as tx:
            step = await replays.begin(tx, replay_id)
            if step is None:
                return
            before = dict(step.counts)
            match step.state:
                case ReplayState.RUNNING:
                    await self._run(tx, step)
                case ReplayState.PAUSED:
                    await self._hold_back(tx, step, ItemState.WAITING)
                case ReplayState.CANCELLING:
                    await self._hold_back(tx, step, ItemState.CANCELLED)
                    given = await replay_recall.give_up(tx, replay_id, most=GIVEN_UP_AT_ONCE)
                    step.move(ItemState.WAITING, ItemState.CANCELLED, given)
                    if not any(step.counts.get(state) for state in jobs.OPEN):
                        step.state = ReplayState.CANCELLED
                case _:
                    return
            await self._end(tx, step, before)
        if step.state is not step.replay.state:
            log.info("replay.over", replay_id=show_id(Prefix.REPLAY, replay_id), state=step.state)

    async def _run(self, tx: Transaction, step: Step) -> None:
        if not step.selected:
            await self._find(tx, step)
        endpoints = await self._endpoints_in_turn(tx, step)
        await self._look_again(tx, step, endpoints)
        released = await self._release(tx, step, endpoints)
        await accepting.wake(
            tx, {(step.replay.tenant_id, endpoint) for endpoint in released}, lane=Lane.REPLAY
        )
        if step.selected and not any(step.counts.get(state) for state in jobs.OPEN):
            step.state = ReplayState.FINISHED

    async def _hold_back(self, tx: Transaction, step: Step, to: ItemState) -> None:
        """Take back what is in the lane; see what comes of what is on its way already."""
        cancel = to is ItemState.CANCELLED
        moved = await replay_recall.take_back(tx, step.replay.id, to, tried=cancel, most=TAKEN_BACK_AT_ONCE)
        _count(step, moved)
        endpoints = await self._endpoints_in_turn(tx, step)
        await self._look_again(tx, step, endpoints)

    # Find.

    async def _find(self, tx: Transaction, step: Step) -> None:
        cut = Cut.following(FOUND_AT_ONCE, step.cursor, oldest_first=True)
        tenant_id, wanted = step.replay.tenant_id, step.replay.wanted
        some: list[tuple[UUID, EndpointId, EventId]]
        if isinstance(wanted, MissingSelection):
            events = await missing.page(tx, tenant_id, wanted, cut, never=NEVER_MISSING)
            some, last = [(one.id, wanted.endpoint_id, one.id) for one in events.items], events.last
        else:
            asked = await search.prepared(tx, tenant_id, wanted, in_flight=self._in_flight)
            page = await search.page(tx, asked, cut)
            some, last = [(one.id, one.endpoint_id, one.event_id) for one in page.items], page.last
        step.move(None, ItemState.WAITING, await replay_items.enlist(tx, step.replay.id, some))
        step.cursor = last or step.cursor
        step.selected = last is None

    # Look again.

    async def _endpoints_in_turn(self, tx: Transaction, step: Step) -> list[EndpointId]:
        """The next endpoints that have something in the lane or waiting for it."""
        after = step.after_endpoint or OLDEST
        found: set[EndpointId] = set()
        for state in (ItemState.QUEUED, ItemState.WAITING):
            found.update(
                await replay_items.endpoints_of(
                    tx, step.replay.id, state, after=after, most=ENDPOINTS_AT_ONCE
                )
            )
        endpoints = sorted(found)[:ENDPOINTS_AT_ONCE]
        step.after_endpoint = endpoints[-1] if len(endpoints) == ENDPOINTS_AT_ONCE else None
        return endpoints

    async def _look_again(self, tx: Transaction, step: Step, endpoints: Sequence[EndpointId]) -> None:
        if step.counts.get(ItemState.QUEUED) and endpoints:
            _count(step, await replay_items.settle_queued(tx, step.replay.id, endpoints))
        if step.counts.get(ItemState.RETRYING):
            moved, step.retry_place = await replay_items.settle_retrying(
                tx, step.replay.id, step.retry_place or (OLDEST, OLDEST), most=LOOKED_AT_AGAIN
            )
            _count(step, moved)

    # Release.

    async def _release(self, tx: Transaction, step: Step, endpoints: Sequence[EndpointId]) -> set[EndpointId]:
        """Send more of these endpoints' deliveries into the lane; returns whose."""
        if not step.counts.get(ItemState.WAITING) or not endpoints:
            return set()
        turns = dict(zip(endpoints, await self._turns(tx, step, endpoints), strict=True))
        most = jobs.allowed(step.replay.rate, step.paced_at, step.now, most=RELEASED_AT_ONCE)
        takes = _shared({e: turn.take for e, turn in turns.items() if turn.skipped is None}, most)
        if most < sum(1 for turn in turns.values() if turn.take and turn.skipped is None):
            # There was not one for each; the others come first next time.
            step.after_endpoint = max(takes, default=step.after_endpoint)
        skipped = {e: turn for e, turn in turns.items() if turn.skipped is not None}
        takes |= _shared({e: turn.take for e, turn in skipped.items()}, RELEASED_AT_ONCE)
        waiting = await replay_release.waiting(tx, step.replay.id, list(takes.items())) if takes else []
        whys = {e: turn.skipped for e, turn in skipped.items() if turn.skipped is not None}
        sent, sent_to = await self._apply(tx, step, waiting, whys)
        step.paced_at = jobs.paced(step.replay.rate, step.paced_at, step.now, released=sent)
        return sent_to

    async def _turns(self, tx: Transaction, step: Step, endpoints: Sequence[EndpointId]) -> list[Turn]:
        stand: dict[EndpointId, Situation] = await situations.of(tx, endpoints)
        queued = await replay_items.queued(tx, step.replay.id, endpoints)
        far_ahead = jobs.is_far_ahead(step.counts.get(ItemState.QUEUED, 0), step.replay.per_second)
        return [
            jobs.turn_of(
                stand.get(endpoint),
                hold=step.replay.hold,
                queued=queued.get(endpoint, 0),
                far_ahead=far_ahead,
            )
            for endpoint in endpoints
        ]

    async def _apply(
        self, tx: Transaction, step: Step, waiting: Sequence[Waiting], whys: dict[EndpointId, str]
    ) -> tuple[int, set[EndpointId]]:
        """Do what is to be done with those whose turn has come; returns how many go out, and whose."""
        replay_id = step.replay.id
        reason = f"replayed by {show_id(Prefix.REPLAY, replay_id)}"
        by_release: dict[Release, list[Waiting]] = defaultdict(list)
        skipped: list[tuple[UUID, str]] = []
        for one in waiting:
            release, why = jobs.release_of(one.stands, kept=one.kept, owed=one.owed)
            why = whys.get(one.endpoint_id, why)
            if why is not None:
                skipped.append((one.delivery_id, why))
            else:
                by_release[release].append(one)
        made = await self._create(tx, step, by_release[Release.CREATE], skipped, reason)
        reopened, advanced = by_release[Release.REOPEN], by_release[Release.ADVANCE]
        if reopened:
            await replay_release.reopen(tx, replay_id, _ids(reopened), reason=reason)
        if advanced:
            await replay_release.advance(tx, replay_id, _ids(advanced))
        joined = 0
        if by_release[Release.JOIN]:
            joined = await replay_release.join(tx, replay_id, _ids(by_release[Release.JOIN]))
        if skipped:
            await replay_release.skip(tx, replay_id, skipped)
            step.move(ItemState.WAITING, ItemState.SKIPPED, len(skipped))
        sent = [*made, *reopened, *advanced]
        step.move(ItemState.WAITING, ItemState.QUEUED, len(sent) + joined)
        return len(sent), {one.endpoint_id for one in sent}

    async def _create(
        self,
        tx: Transaction,
        step: Step,
        wanted: Sequence[Waiting],
        skipped: list[tuple[UUID, str]],
        reason: str,
    ) -> list[Waiting]:
        """Owe events that were never owed; those that another job was faster with are skipped."""
        if not wanted:
            return []
        endpoint_id = wanted[0].endpoint_id  # such a job has one endpoint
        owed = await replay_release.owed_already(tx, endpoint_id, [one.event_id for one in wanted])
        skipped += [(one.delivery_id, "owed_meanwhile") for one in wanted if one.event_id in owed]
        made = [one for one in wanted if one.event_id not in owed]
        pairs = [(DeliveryId(new_id()), one.event_id) for one in made]
        await replay_release.create(tx, step.replay.id, endpoint_id, pairs, reason=reason)
        return made

    # End.

    async def _end(self, tx: Transaction, step: Step, before: dict[ItemState, int]) -> None:
        done = _done(step.counts) - _done(before)
        took = step.now - step.replay.counted_at
        per_second = jobs.speed(step.replay.per_second, done=done, took=took)
        pause = jobs.next_step_after(
            step.state,
            step.counts,
            selecting=not step.selected,
            moved=step.counts != before,
            per_second=per_second,
        )
        await replays.end(tx, step, per_second=per_second, pause=pause)
        if step.state is ReplayState.FINISHED:
            await journal.append(tx, [_finished(step)])


def _finished(step: Step) -> Entry:
    return Entry(
        tenant_id=step.replay.tenant_id,
        what="replay.finished",
        actor=ENGINE,
        at=step.now,
        details={
            "replay_id": show_id(Prefix.REPLAY, step.replay.id),
            **{name: count for name, count in step.counts.items() if count},
        },
    )


def _shared(needs: dict[EndpointId, int], most: int) -> dict[EndpointId, int]:
    takes = jobs.shared(list(needs.values()), most)
    return {endpoint: take for endpoint, take in zip(needs, takes, strict=True) if take}


def _count(step: Step, moved: Iterable[Moved]) -> None:
    for one in moved:
        step.move(one.before, one.after, one.count)


def _done(counts: dict[ItemState, int]) -> int:
    return sum(count for state, count in counts.items() if state not in jobs.OPEN)


def _ids(some: Sequence[Waiting]) -> list[DeliveryId]:
    return [one.delivery_id for one in some]
