"""The use cases of replay jobs: preview, create, follow, pause, resume, cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.errors import Conflict, Invalid
from delivery.domain.holds import find_hold, require_active
from delivery.domain.ids import (
    EndpointId,
    Prefix,
    ReplayId,
    extract_id_time,
    format_id,
    new_id,
    require_found,
)
from delivery.domain.pagination import MIN_ID, PageRequest
from delivery.domain.replay import MissingEventFilter, Replay, ReplayState
from delivery.domain.validation import check_reason
from delivery.ledger.queue import eligibility
from delivery.ledger.records import endpoints, journal
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.replays import items, jobs
from delivery.ledger.search import count, missing, search
from delivery.log import get_logger
from delivery.services.replays.validation import NEVER_MISSING, ReplayPreview, validate_replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from uuid import UUID

    from delivery.domain.accounts import Actor
    from delivery.domain.delivery import ActiveHold
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import Page
    from delivery.domain.replay import ItemState, ReplayItem
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.search.missing import MissingEvent
    from delivery.services.replays.validation import NewReplay

log = get_logger()

MAX_EXAMPLES: Final = 10
_EVENTS_BATCH_SIZE: Final = 1_000
# Pages of events that a preview of missing events reads.
_MAX_PAGES: Final = 20
_EXAMPLES_PAGE: Final = PageRequest.from_cursor(MAX_EXAMPLES, None, oldest_first=True)


class ReplayService:
    """Manages the replay jobs of tenants."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime], default_max_in_flight: int) -> None:
        """`default_max_in_flight` applies to endpoints without a limit of their own."""
        self._ledger = ledger
        self._clock = clock
        self._default_max_in_flight = default_max_in_flight

    async def preview(self, tenant_id: TenantId, new: NewReplay, *, operator: bool) -> ReplayPreview:
        """Preview a job; nothing is changed. Raises Invalid, NotAllowed, NotFound."""
        new = validate_replay(new, operator=operator, now=self._clock())
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            new, named = await _resolve_selection(tx, tenant_id, new)
            if isinstance(new.selection, MissingEventFilter):
                return await self._preview_missing(tx, tenant_id, new.selection, named)
            prepared = await search.prepare_search(
                tx, tenant_id, new.selection, default_max_in_flight=self._default_max_in_flight
            )
            result = await count.count_deliveries(tx, prepared, limit=count.MAX_COUNTED_BEFORE_ACTION)
            examples = (await search.read_page(tx, prepared, _EXAMPLES_PAGE)).items
            ids = [*(row.id for row in named), *(row.endpoint_id for row in examples)]
            return ReplayPreview(
                count=result.count,
                exact=result.exact,
                by_status=result.by_status,
                oldest=None if result.oldest is None else extract_id_time(result.oldest),
                newest=None if result.newest is None else extract_id_time(result.newest),
                deliveries=examples,
                events=(),
                endpoints=await self._load_holds(tx, tenant_id, ids),
            )

    async def create(self, tenant_id: TenantId, new: NewReplay, *, operator: bool, actor: Actor) -> Replay:
        """Start a job. Raises Invalid, NotAllowed, NotFound; Conflict for an endpoint that is not active."""
        now = self._clock()
        new = validate_replay(new, operator=operator, now=now)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            new, named = await _resolve_selection(tx, tenant_id, new)
            if not new.hold:
                for endpoint in named:
                    require_active(endpoint)
            replay = Replay(
                id=ReplayId(new_id()),
                tenant_id=tenant_id,
                selection=new.selection,
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
            await jobs.insert(tx, replay)
            details = {"selection": new.selection.to_document(), "rate": new.rate, "hold": new.hold}
            await journal.append(tx, [_build_entry(replay, "created", actor, new.reason, now, **details)])
        log.info("replay.created", replay_id=format_id(Prefix.REPLAY, replay.id), actor=actor.name)
        return replay

    async def read(self, tenant_id: TenantId, replay_id: ReplayId) -> Replay:
        """Read a job with its progress; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await _read(tx, tenant_id, replay_id)

    async def list_replays(
        self, tenant_id: TenantId | None, state: ReplayState | None, page_request: PageRequest
    ) -> Page[Replay]:
        """List a tenant's jobs, newest first; `tenant_id` None: all tenants', for staff."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await jobs.read_page(tx, tenant_id, state, page_request)

    async def list_items(
        self, tenant_id: TenantId, replay_id: ReplayId, state: ItemState | None, page_request: PageRequest
    ) -> Page[ReplayItem]:
        """List the deliveries of a job, oldest first; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _read(tx, tenant_id, replay_id)
            return await items.read_page(tx, replay_id, state, page_request)

    async def pause(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Pause a job and take back deliveries that no worker has; raises NotFound, Conflict."""
        return await self._change_state(
            tenant_id, replay_id, ReplayState.PAUSED, {ReplayState.RUNNING}, reason=reason, actor=actor
        )

    async def resume(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Resume a paused job; raises NotFound, Conflict."""
        return await self._change_state(
            tenant_id, replay_id, ReplayState.RUNNING, {ReplayState.PAUSED}, reason=reason, actor=actor
        )

    async def cancel(
        self, tenant_id: TenantId, replay_id: ReplayId, *, reason: str | None = None, actor: Actor
    ) -> Replay:
        """Cancel a job; deliveries that no worker has are as before. Raises NotFound, Conflict."""
        open_ = {ReplayState.RUNNING, ReplayState.PAUSED}
        return await self._change_state(
            tenant_id, replay_id, ReplayState.CANCELLING, open_, reason=reason, actor=actor
        )

    async def _change_state(
        self,
        tenant_id: TenantId,
        replay_id: ReplayId,
        target: ReplayState,
        allowed_from: set[ReplayState],
        *,
        reason: str | None,
        actor: Actor,
    ) -> Replay:
        reason = check_reason(reason)
        verb = _VERBS[target]
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            replay = await _read(tx, tenant_id, replay_id, lock=True)
            if replay.state is target:
                return replay
            if replay.state not in allowed_from:
                raise Conflict(f"The replay is {replay.state}: it cannot be {verb} any more.")
            await jobs.change_state(tx, replay_id, target)
            await journal.append(tx, [_build_entry(replay, verb, actor, reason, self._clock())])
            moved = await _read(tx, tenant_id, replay_id)
        log.info("replay.moved", to=target, replay_id=format_id(Prefix.REPLAY, replay_id), actor=actor.name)
        return moved

    async def _preview_missing(
        self,
        tx: Transaction,
        tenant_id: TenantId,
        selection: MissingEventFilter,
        named_endpoints: list[Endpoint],
    ) -> ReplayPreview:
        found_events: list[MissingEvent] = []
        last: UUID | None = MIN_ID
        for _ in range(_MAX_PAGES):
            page_request = PageRequest.from_cursor(_EVENTS_BATCH_SIZE, last, oldest_first=True)
            page = await missing.read_page(
                tx, tenant_id, selection, page_request, excluded_types=NEVER_MISSING
            )
            found_events += page.items
            last = page.next_cursor
            if last is None:
                break
        return ReplayPreview(
            count=len(found_events),
            exact=last is None,
            by_status={},
            oldest=found_events[0].created_at if found_events else None,
            newest=found_events[-1].created_at if found_events else None,
            deliveries=(),
            events=tuple(found_events[:MAX_EXAMPLES]),
            endpoints=await self._load_holds(tx, tenant_id, [endpoint.id for endpoint in named_endpoints]),
        )

    async def _load_holds(
        self, tx: Transaction, tenant_id: TenantId, ids: Iterable[EndpointId]
    ) -> tuple[tuple[Endpoint, ActiveHold | None], ...]:
        distinct = list(dict.fromkeys(ids))
        statuses = await eligibility.load_statuses(tx, distinct)
        rows = [await endpoints.read(tx, tenant_id, id_) for id_ in distinct]
        return tuple(
            (endpoint, find_hold(statuses[endpoint.id], default_in_flight=self._default_max_in_flight))
            for endpoint in rows
            if endpoint is not None
        )


_VERBS: Final = {
    ReplayState.PAUSED: "paused",
    ReplayState.RUNNING: "resumed",
    ReplayState.CANCELLING: "cancelled",
}


async def _read(tx: Transaction, tenant_id: TenantId, replay_id: ReplayId, *, lock: bool = False) -> Replay:
    row = await jobs.read(tx, tenant_id, replay_id, lock=lock)
    return require_found(row, Prefix.REPLAY, replay_id)


async def _resolve_selection(
    tx: Transaction, tenant_id: TenantId, new: NewReplay
) -> tuple[NewReplay, list[Endpoint]]:
    """Complete a selection of missing events by the endpoint's subscription, and read the endpoints.

    Raises NotFound.
    """
    if not isinstance(new.selection, MissingEventFilter):
        return new, [await _read_endpoint(tx, tenant_id, id_) for id_ in new.selection.endpoints]
    endpoint = await _read_endpoint(tx, tenant_id, new.selection.endpoint_id)
    if endpoint.operational:
        raise Invalid("missing.endpoint", "is operational: it gets none of the tenant's events")
    settled = replace(
        new.selection,
        types=new.selection.types or endpoint.filter,
        channels=endpoint.channels,
        condition=endpoint.condition,
    )
    return replace(new, selection=settled), [endpoint]


async def _read_endpoint(tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId) -> Endpoint:
    row = await endpoints.read(tx, tenant_id, endpoint_id)
    return require_found(row, Prefix.ENDPOINT, endpoint_id)


def _build_entry(
    replay: Replay,
    verb: str,
    actor: Actor,
    reason: str | None,
    now: datetime,
    **details: Any,
) -> JournalEntry:
    details = {"replay_id": format_id(Prefix.REPLAY, replay.id), **details}
    return JournalEntry.by_actor(
        replay.tenant_id, f"replay.{verb}", actor, at=now, reason=reason, details=details
    )
