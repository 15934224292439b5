"""Replay jobs: selection, progress, and the jobs whose next step is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import text

from delivery.domain.accounts import Actor
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import EndpointId, ReplayId, TenantId
from delivery.domain.pagination import Page
from delivery.domain.replay import ItemState, MissingEventFilter, Replay, ReplayState

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from sqlalchemy import Row

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_INSERT = text("""
    insert into replays (id, tenant_id, kind, selection, reason, actor, address, hold, rate, state, counts,
                         counted_at, paced_at, next_at, created_at)
    values (:id, :tenant, :kind, cast(:selection as json), :reason, :actor, :address, :hold, :rate, :state,
            '{}', :now, :now, :now, :now)
""")
_READ = text("select * from replays where id = :id and tenant_id = :tenant")
_LOCK = text("select * from replays where id = :id and tenant_id = :tenant for update")
_PAGE = text("""
    select * from replays
    where tenant_id = :tenant and id < :before and (cast(:state as text) is null or state = :state)
    order by id desc limit :most
""")
_PAGE_ALL_TENANTS = text("""
    select * from replays
    where id < :before and (cast(:state as text) is null or state = :state)
    order by id desc limit :most
""")
_CHANGE_STATE = text("""
    update replays set state = :state, next_at = clock_timestamp(), per_second = null,
                       counted_at = clock_timestamp()
    where id = :id
""")
# A running step has its row locked and is skipped; a step whose message was lost is late, not lost.
_CLAIM_DUE = text("""
    with due as (
        select id from replays where next_at <= clock_timestamp() order by next_at limit :most
        for update skip locked
    )
    update replays set next_at = clock_timestamp() + :patience from due where replays.id = due.id
    returning replays.id
""")
_NEXT = text("select min(next_at) - clock_timestamp() as left_over from replays where next_at is not null")
_BEGIN_STEP = text("select *, clock_timestamp() as now from replays where id = :id for update skip locked")
_END_STEP = text("""
    update replays
    set state = :state, counts = cast(:counts as json), cursor = :cursor,
        selected_at = case when cast(:selected as bool) then coalesce(selected_at, :now) end,
        per_second = :per_second, counted_at = :now, paced_at = :paced_at, after_endpoint = :after_endpoint,
        retry_endpoint = :retry_endpoint, retry_delivery = :retry_delivery,
        next_at = clock_timestamp() + cast(:pause as interval),
        finished_at = case when cast(:over as bool) then :now end
    where id = :id
""")


@dataclass(slots=True)
class ReplayStep:
    """A job during a step: its row is locked. The step's changes are written at its end."""

    replay: Replay
    counts: dict[ItemState, int]
    state: ReplayState
    cursor: UUID | None
    selected: bool
    paced_at: datetime
    after_endpoint: EndpointId | None
    retry_cursor: tuple[UUID, UUID] | None
    now: datetime

    def move_items(self, before: ItemState | None, after: ItemState, count: int) -> None:
        """Count deliveries that changed state."""
        if before is not None:
            self.counts[before] = self.counts.get(before, 0) - count
        self.counts[after] = self.counts.get(after, 0) + count


async def insert(tx: Transaction, replay: Replay) -> None:
    """Insert a job; its first step is due at once."""
    wanted = replay.selection
    await tx.execute(
        _INSERT,
        {
            "id": replay.id,
            "tenant": replay.tenant_id,
            "kind": "missing" if isinstance(wanted, MissingEventFilter) else "again",
            "selection": msgspec.json.encode(wanted.to_document()).decode(),
            "reason": replay.reason,
            "actor": replay.actor.name,
            "address": replay.actor.address,
            "hold": replay.hold,
            "rate": replay.rate,
            "state": replay.state,
            "now": replay.created_at,
        },
    )


async def read(
    tx: Transaction, tenant_id: TenantId, replay_id: ReplayId, *, lock: bool = False
) -> Replay | None:
    """One job; if locked, no step of it runs."""
    found = await tx.execute(_LOCK if lock else _READ, {"id": replay_id, "tenant": tenant_id})
    row = found.one_or_none()
    return None if row is None else _replay_from_row(row)


async def read_page(
    tx: Transaction, tenant_id: TenantId | None, state: ReplayState | None, page_request: PageRequest
) -> Page[Replay]:
    """A tenant's jobs, newest first; all tenants' if none is named."""
    values = {"before": page_request.before, "state": state, "most": page_request.limit + 1}
    query = _PAGE_ALL_TENANTS
    if tenant_id is not None:
        query, values["tenant"] = _PAGE, tenant_id
    return Page.from_rows([_replay_from_row(row) for row in await tx.execute(query, values)], page_request)


async def change_state(tx: Transaction, replay_id: ReplayId, state: ReplayState) -> None:
    """Change the state of a locked job; its next step is due at once."""
    await tx.execute(_CHANGE_STATE, {"id": replay_id, "state": state})


async def claim_due(tx: Transaction, *, limit: int, lease: timedelta) -> list[ReplayId]:
    """The jobs with a due step, longest waiting first; they are due again after `patience`."""
    rows = await tx.execute(_CLAIM_DUE, {"most": limit, "patience": lease})
    return [ReplayId(row.id) for row in rows]


async def read_next_due_delay(tx: Transaction) -> timedelta | None:
    """The time until the next step is due; None: no step is."""
    left: timedelta | None = (await tx.execute(_NEXT)).scalar_one()
    return left


async def begin_step(tx: Transaction, replay_id: ReplayId) -> ReplayStep | None:
    """Lock a job for a step; None: another step of it runs, or none is due."""
    row = (await tx.execute(_BEGIN_STEP, {"id": replay_id})).one_or_none()
    if row is None or row.next_at is None:
        return None
    replay = _replay_from_row(row)
    place = None if row.retry_endpoint is None else (row.retry_endpoint, row.retry_delivery)
    return ReplayStep(
        replay=replay,
        counts=dict(replay.counts),
        state=replay.state,
        cursor=row.cursor,
        selected=not replay.selecting,
        paced_at=row.paced_at,
        after_endpoint=row.after_endpoint,
        retry_cursor=place,
        now=row.now,
    )


async def end_step(
    tx: Transaction, step: ReplayStep, *, per_second: float | None, pause: timedelta | None
) -> None:
    """Write a step's changes; `pause` is the time until the next step, None: there is none."""
    endpoint, delivery = step.retry_cursor or (None, None)
    await tx.execute(
        _END_STEP,
        {
            "id": step.replay.id,
            "state": step.state,
            "counts": msgspec.json.encode(
                {name: count for name, count in step.counts.items() if count}
            ).decode(),
            "cursor": step.cursor,
            "selected": step.selected,
            "per_second": per_second,
            "paced_at": step.paced_at,
            "after_endpoint": step.after_endpoint,
            "retry_endpoint": endpoint,
            "retry_delivery": delivery,
            "pause": pause,
            "over": step.state in {ReplayState.FINISHED, ReplayState.CANCELLED},
            "now": step.now,
        },
    )


def _replay_from_row(row: Row[*tuple[Any, ...]]) -> Replay:
    kind = MissingEventFilter if row.kind == "missing" else DeliveryFilter
    return Replay(
        id=ReplayId(row.id),
        tenant_id=TenantId(row.tenant_id),
        selection=kind.from_document(row.selection),
        reason=row.reason,
        actor=Actor(row.actor, row.address),
        hold=row.hold,
        rate=row.rate,
        state=ReplayState(row.state),
        selecting=row.selected_at is None and row.state in {ReplayState.RUNNING, ReplayState.PAUSED},
        counts={ItemState(name): count for name, count in row.counts.items()},
        per_second=row.per_second,
        counted_at=row.counted_at,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
