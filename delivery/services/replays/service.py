"""The use cases of replay jobs: look first, begin, follow, pause, resume, cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from delivery.checks import checked_reason
from delivery.errors import Conflict, Invalid, NotFound
from delivery.holding import hold_of, refuse_unless_active
from delivery.jobs import MissingSelection, Replay, ReplayState
from delivery.ledger import endpoints, journal, missing, replay_items, replays, search, situations, tally
from delivery.ledger.journal import Entry
from delivery.model import EndpointId, Prefix, ReplayId, moment_of, new_id, show_id
from delivery.paging import OLDEST, Cut
from delivery.replay.terms import NEVER_MISSING, Preview, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from uuid import UUID

    from delivery.jobs import Item, ItemState
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.missing import MissingEvent
    from delivery.model import Actor, Endpoint, Held, TenantId
    from delivery.paging import Page
    from delivery.replay.terms import NewReplay

log = structlog.get_logger()

EXAMPLES: Final = 10
_EVENTS_AT_ONCE: Final = 1_000
# A preview looks at so many pages of events that may be missing.
_MOST_PAGES: Final = 20
_OLDEST_FIRST: Final = Cut.following(EXAMPLES, None, oldest_first=True)


class Replays:
    """What a tenant does with its replay jobs."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime], in_flight: int) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._clock = clock
        self._in_flight = in_flight

    async def preview(self, tenant_id: TenantId, new: NewReplay, *, operator: bool) -> Preview:
        """What a job would send; nothing is changed. Raises Invalid, NotAllowed, NotFound."""
        new = checked(new, operator=operator, now=self._clock())
        async with self._ledger.transaction(of=tenant_id) as tx:
            new, named = await _settled(tx, tenant_id, new)
            if isinstance(new.wanted, MissingSelection):
                return await self._preview_missing(tx, tenant_id, new.wanted, named)
            asked = await search.prepared(tx, tenant_id, new.wanted, in_flight=self._in_flight)
            counted = await tally.tally(tx, asked, most=tally.MOST_WEIGHED)
            examples = (await search.page(tx, asked, _OLDEST_FIRST)).items
            ids = [*(one.id for one in named), *(one.endpoint_id for one in examples)]
            return Preview(
                count=counted.count,
                exact=counted.exact,
                by_status=counted.by_status,
                oldest=None if counted.oldest is None else moment_of(counted.oldest),
                newest=None if counted.newest is None else moment_of(counted.newest),
                deliveries=examples,
                events=(),
                endpoints=await self._stand(tx, tenant_id, ids),
            )

    async def create(self, tenant_id: TenantId, new: NewReplay, *, operator: bool, actor: Actor) -> Replay:
        """Begin a job. Raises Invalid, NotAllowed, NotFound; Conflict for an endpoint that takes nothing."""
        now = self._clock()
        new = checked(new, operator=operator, now=now)
        async with self._ledger.transaction(of=tenant_id) as tx:
            new, named = await _settled(tx, tenant_id, new)
            if not new.hold:
                for endpoint in named:
                    refuse_unless_active(endpoint)
            replay = Replay(
                id=ReplayId(new_id()),
                tenant_id=tenant_id,
                wanted=new.wanted,
                reason=new.reason,
                actor=actor,
                hold=new.hold,
                rate=new.rate,
                state=ReplayState.RUNNING,
                selecting=True,
                counts={},
                per_second=None,
                counted_at=now,
                created_at=now,
                finished_at=None,
            )
            await replays.insert(tx, replay)
            wanted = {"selection": new.wanted.to_document(), "rate": new.rate, "hold": new.hold}
            await journal.append(tx, [_entry(replay, "created", actor, new.reason, now, **wanted)])
        log.info("replay.created", replay_id=show_id(Prefix.REPLAY, replay.id), actor=actor.name)
        return replay

    async def read(self, tenant_id: TenantId, replay_id: ReplayId) -> Replay:
        """One job, and how far it is; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await _read(tx, tenant_id, replay_id)

    async def page(self, tenant_id: TenantId | None, state: ReplayState | None, cut: Cut) -> Page[Replay]:
        """A tenant's jobs, newest first; all tenants' where none is named (staff's to ask)."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await replays.page(tx, tenant_id, state, cut)

    async def items(
        self, tenant_id: TenantId, replay_id: ReplayId, state: ItemState | None, cut: Cut
    ) -> Page[Item]:
        """The deliveries of a job, oldest first; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await _read(tx, tenant_id, replay_id)
            return await replay_items.page(tx, replay_id, state, cut)

    async def pause(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Send no more, and take back what no worker has yet; raises NotFound, Conflict."""
        return await self._move(
            tenant_id, replay_id, ReplayState.PAUSED, {ReplayState.RUNNING}, reason=reason, actor=actor
        )

    async def resume(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Go on where a pause began; raises NotFound, Conflict."""
        return await self._move(
            tenant_id, replay_id, ReplayState.RUNNING, {ReplayState.PAUSED}, reason=reason, actor=actor
        )

    async def cancel(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Send no more, ever; what no worker has yet stands as before. Raises NotFound, Conflict."""
        open_ = {ReplayState.RUNNING, ReplayState.PAUSED}
        return await self._move(
            tenant_id, replay_id, ReplayState.CANCELLING, open_, reason=reason, actor=actor
        )

    async def _move(
        self,
        tenant_id: TenantId,
        replay_id: ReplayId,
        to: ReplayState,
        of: set[ReplayState],
        *,
        reason: str | None,
        actor: Actor,
    ) -> Replay:
        reason = checked_reason(reason)
        verb = _VERBS[to]
        async with self._ledger.transaction(of=tenant_id) as tx:
            replay = await _read(tx, tenant_id, replay_id, lock=True)
            if replay.state is to:
                return replay
            if replay.state not in of:
                raise Conflict(f"The replay is {replay.state}: it cannot be {verb} any more.")
            await replays.move(tx, replay_id, to)
            await journal.append(tx, [_entry(replay, verb, actor, reason, self._clock())])
            moved = await _read(tx, tenant_id, replay_id)
        log.info("replay.moved", to=to, replay_id=show_id(Prefix.REPLAY, replay_id), actor=actor.name)
        return moved

    async def _preview_missing(
        self, tx: Transaction, tenant_id: TenantId, wanted: MissingSelection, named: list[Endpoint]
    ) -> Preview:
        found: list[MissingEvent] = []
        last: UUID | None = OLDEST
        for _ in range(_MOST_PAGES):
            cut = Cut.following(_EVENTS_AT_ONCE, last, oldest_first=True)
            page = await missing.page(tx, tenant_id, wanted, cut, never=NEVER_MISSING)
            found += page.items
            last = page.last
            if last is None:
                break
        return Preview(
            count=len(found),
            exact=last is None,
            by_status={},
            oldest=found[0].created_at if found else None,
            newest=found[-1].created_at if found else None,
            deliveries=(),
            events=tuple(found[:EXAMPLES]),
            endpoints=await self._stand(tx, tenant_id, [one.id for one in named]),
        )

    async def _stand(
        self, tx: Transaction, tenant_id: TenantId, ids: Iterable[EndpointId]
    ) -> tuple[tuple[Endpoint, Held | None], ...]:
        distinct = list(dict.fromkeys(ids))
        stand = await situations.of(tx, distinct)
        read = [await endpoints.read(tx, tenant_id, id_) for id_ in distinct]
        return tuple(
            (one, hold_of(stand[one.id], in_flight=self._in_flight)) for one in read if one is not None
        )


_VERBS: Final = {
    ReplayState.PAUSED: "paused",
    ReplayState.RUNNING: "resumed",
    ReplayState.CANCELLING: "cancelled",
}


async def _read(tx: Transaction, tenant_id: TenantId, replay_id: ReplayId, *, lock: bool = False) -> Replay:
    replay = await replays.read(tx, tenant_id, replay_id, lock=lock)
    if replay is None:
        raise NotFound("replay", show_id(Prefix.REPLAY, replay_id))
    return replay


async def _settled(tx: Transaction, tenant_id: TenantId, new: NewReplay) -> tuple[NewReplay, list[Endpoint]]:
    """The job with what its endpoint asks for now, and the endpoints that it names; raises NotFound."""
    if not isinstance(new.wanted, MissingSelection):
        return new, [await _endpoint(tx, tenant_id, id_) for id_ in new.wanted.endpoints]
    endpoint = await _endpoint(tx, tenant_id, new.wanted.endpoint_id)
    if endpoint.operational:
        raise Invalid("missing.endpoint", "is operational: it gets none of the tenant's events")
    settled = replace(
        new.wanted,
        types=new.wanted.types or endpoint.filter,
        channels=endpoint.channels,
        condition=endpoint.condition,
    )
    return replace(new, wanted=settled), [endpoint]


async def _endpoint(tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId) -> Endpoint:
    endpoint = await endpoints.read(tx, tenant_id, endpoint_id)
    if endpoint is None:
        raise NotFound("endpoint", show_id(Prefix.ENDPOINT, endpoint_id))
    return endpoint


def _entry(
    replay: Replay,
    verb: str,
    actor: Actor,
    reason: str | None,
    now: datetime,
    **details: Any,
) -> Entry:
    return Entry(
        tenant_id=replay.tenant_id,
        what=f"replay.{verb}",
        actor=actor.name,
        address=actor.address,
        reason=reason,
        at=now,
        details={"replay_id": show_id(Prefix.REPLAY, replay.id), **details},
    )
