"""Releases a replay job's next deliveries into the replay queue.

Locks: the job, then `schedule`, then `deliveries`. Rows locked by others are left for the next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.ids import DeliveryId, EndpointId, EventId, ReplayId
from delivery.domain.replay import EndedDelivery, ScheduledDelivery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from delivery.ledger.db.session import Transaction

_WAITING = text("""
    select i.delivery_id, i.event_id, wanted.id as endpoint_id,
           exists (select from events e where e.id = i.event_id and e.body is not null) as kept
    from unnest(cast(:endpoints as uuid[]), cast(:takes as int[])) as wanted (id, take)
    cross join lateral (
        select delivery_id, event_id from replay_items
        where replay_id = :replay and state = 'waiting' and endpoint_id = wanted.id
        order by delivery_id limit wanted.take
    ) as i
""")
_SCHEDULED = text("""
    select delivery_id, claim_id is not null as claimed, lane, due_at <= clock_timestamp() as due
    from schedule where delivery_id = any (cast(:ids as uuid[]))
""")
_LOCK_SCHEDULED = text("""
    select delivery_id from schedule
    where delivery_id = any (cast(:ids as uuid[])) and claim_id is null
    order by delivery_id for update skip locked
""")
_ENDED = text("""
    select d.id, d.status from unnest(cast(:ids as uuid[])) as wanted (id)
    join deliveries d on d.id = wanted.id
""")
_LOCK_ENDED = text("""
    select d.id, d.status from unnest(cast(:ids as uuid[])) as wanted (id)
    join deliveries d on d.id = wanted.id
    order by d.id for update of d skip locked
""")
# A job's id comes from the row that is joined: as a constant it would have all of the job's items read.
_REOPEN = text("""
    with past as materialized (
        select cast(:replay as uuid) as replay_id, d.*
        from unnest(cast(:ids as uuid[])) as wanted (id) join deliveries d on d.id = wanted.id
    ), queued as (
        update replay_items i
        set state = 'queued', attempts = past.attempts, was_status = past.status,
            was_reason = past.reason, was_finished_at = past.finished_at,
            queued_at = clock_timestamp(), changed_at = clock_timestamp()
        from past where i.replay_id = past.replay_id and i.delivery_id = past.id
    ), owed as (
        insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, lane, due_at, reopened_at,
                              attempts, outcome, http_status, sequence)
        select id, tenant_id, endpoint_id, event_id, :lane, clock_timestamp(), clock_timestamp(),
               attempts, outcome, http_status, sequence
        from past
    )
    update deliveries d set status = 'pending', finished_at = null, reason = :reason
    from unnest(cast(:ids as uuid[])) as wanted (id) where d.id = wanted.id
""")
_ADVANCE = text("""
    with waits as materialized (
        select cast(:replay as uuid) as replay_id, s.delivery_id, s.attempts, s.due_at
        from unnest(cast(:ids as uuid[])) as wanted (id) join schedule s on s.delivery_id = wanted.id
    ), queued as (
        update replay_items i
        set state = 'queued', attempts = waits.attempts, was_status = 'pending', was_due_at = waits.due_at,
            queued_at = clock_timestamp(), changed_at = clock_timestamp()
        from waits where i.replay_id = waits.replay_id and i.delivery_id = waits.delivery_id
    )
    update schedule set lane = :lane, due_at = least(due_at, clock_timestamp())
    where delivery_id = any (cast(:ids as uuid[]))
""")
_ADOPT = text("""
    with goes as materialized (
        select cast(:replay as uuid) as replay_id, s.delivery_id, s.attempts
        from unnest(cast(:ids as uuid[])) as wanted (id) join schedule s on s.delivery_id = wanted.id
    )
    update replay_items i
    set state = 'queued', attempts = goes.attempts, queued_at = clock_timestamp(),
        changed_at = clock_timestamp()
    from goes where i.replay_id = goes.replay_id and i.delivery_id = goes.delivery_id
    returning i.delivery_id
""")
_SKIP = text("""
    with wanted as materialized (
        select cast(:replay as uuid) as replay_id, id, why
        from unnest(cast(:ids as uuid[]), cast(:whys as text[])) as w (id, why)
    )
    update replay_items i set state = 'skipped', why = wanted.why, changed_at = clock_timestamp()
    from wanted where i.replay_id = wanted.replay_id and i.delivery_id = wanted.id
""")
# One job at a time per endpoint, so that no two find the same event missing.
_LOCK_ENDPOINT = text("select pg_advisory_xact_lock(hashtextextended('missing:' || :endpoint, 0))")
_ALREADY_OWED = text("""
    select wanted.id from unnest(cast(:events as uuid[])) as wanted (id)
    where exists (select from deliveries d where d.event_id = wanted.id and d.endpoint_id = :endpoint)
""")
_CREATE = text("""
    with made as materialized (
        select cast(:replay as uuid) as replay_id, o.id, e.id as event_id, e.tenant_id, e.type
        from unnest(cast(:ids as uuid[]), cast(:events as uuid[])) as o (id, event_id)
        join events e on e.id = o.event_id
    ), queued as (
        update replay_items i
        set delivery_id = made.id, state = 'queued', attempts = 0, was_status = 'cancelled',
            was_reason = 'replay_cancelled', was_finished_at = clock_timestamp(),
            queued_at = clock_timestamp(), changed_at = clock_timestamp()
        from made where i.replay_id = made.replay_id and i.delivery_id = made.event_id
    ), owed as (
        insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, lane, due_at)
        select id, tenant_id, :endpoint, event_id, :lane, clock_timestamp() from made
    )
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, created_at, reason)
    select id, tenant_id, event_id, :endpoint, type, clock_timestamp(), :reason from made
""")


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """A delivery whose turn has come. `kept`: its event's content is still stored."""

    delivery_id: DeliveryId
    endpoint_id: EndpointId
    event_id: EventId
    has_content: bool
    status: ScheduledDelivery | EndedDelivery | None

    @property
    def has_delivery(self) -> bool:
        """Whether the delivery exists: until then its event's id stands in for it."""
        return self.delivery_id != self.event_id


async def lock_waiting(
    tx: Transaction, replay_id: ReplayId, quotas: Sequence[tuple[EndpointId, int]]
) -> list[WaitingItem]:
    """Lock and read the first waiting items, up to this many per endpoint; skips locked ones."""
    values = {
        "replay": replay_id,
        "endpoints": [endpoint for endpoint, _ in quotas],
        "takes": [take for _, take in quotas],
    }
    rows = (await tx.execute(_WAITING, values)).all()
    stands = await _load_statuses(tx, [row.delivery_id for row in rows if row.delivery_id != row.event_id])
    return [
        WaitingItem(
            DeliveryId(row.delivery_id),
            EndpointId(row.endpoint_id),
            EventId(row.event_id),
            row.kept,
            stands.get(row.delivery_id),
        )
        for row in rows
    ]


async def _load_statuses(
    tx: Transaction, ids: Sequence[UUID]
) -> dict[UUID, ScheduledDelivery | EndedDelivery]:
    if not ids:
        return {}
    scheduled = (await tx.execute(_SCHEDULED, {"ids": list(ids)})).all()
    mine = set((await tx.execute(_LOCK_SCHEDULED, {"ids": list(ids)})).scalars())
    found: dict[UUID, ScheduledDelivery | EndedDelivery] = {
        row.delivery_id: ScheduledDelivery(row.claimed, row.delivery_id in mine, Priority(row.lane), row.due)
        for row in scheduled
    }
    rest = {"ids": [id_ for id_ in ids if id_ not in found]}
    if rest["ids"]:
        statuses = {row.id: row.status for row in await tx.execute(_ENDED, rest)}
        locked = {row.id: row.status for row in await tx.execute(_LOCK_ENDED, rest)}
        for id_, status in (statuses | locked).items():
            found[id_] = EndedDelivery(DeliveryStatus(status), id_ in locked)
    return found


async def reopen_deliveries(
    tx: Transaction, replay_id: ReplayId, ids: Sequence[DeliveryId], *, reason: str
) -> None:
    """Reopen finished, locked deliveries: in the replay queue, with a new schedule."""
    values = {"replay": replay_id, "ids": list(ids), "lane": Priority.REPLAY, "reason": reason}
    await tx.execute(_REOPEN, values)


async def advance_deliveries(tx: Transaction, replay_id: ReplayId, ids: Sequence[DeliveryId]) -> None:
    """Make waiting, locked deliveries due now, in the replay queue."""
    await tx.execute(_ADVANCE, {"replay": replay_id, "ids": list(ids), "lane": Priority.REPLAY})


async def adopt_scheduled(tx: Transaction, replay_id: ReplayId, ids: Sequence[DeliveryId]) -> int:
    """Add deliveries that are in flight anyway; returns how many still are."""
    return len((await tx.execute(_ADOPT, {"replay": replay_id, "ids": list(ids)})).all())


async def skip_items(tx: Transaction, replay_id: ReplayId, skipped: Sequence[tuple[UUID, str]]) -> None:
    """Mark items as skipped, with the reason."""
    values = {
        "replay": replay_id,
        "ids": [id_ for id_, _ in skipped],
        "whys": [why for _, why in skipped],
    }
    await tx.execute(_SKIP, values)


async def find_already_owed(
    tx: Transaction, endpoint_id: EndpointId, events: Sequence[EventId]
) -> set[EventId]:
    """Which of these events the endpoint has deliveries for; until this transaction ends no job adds some."""
    await tx.execute(_LOCK_ENDPOINT, {"endpoint": str(endpoint_id)})
    rows = await tx.execute(_ALREADY_OWED, {"endpoint": endpoint_id, "events": list(events)})
    return {EventId(row.id) for row in rows}


async def create_deliveries(
    tx: Transaction,
    replay_id: ReplayId,
    endpoint_id: EndpointId,
    deliveries: Iterable[tuple[DeliveryId, EventId]],
    *,
    reason: str,
) -> None:
    """Create deliveries for missing events of an endpoint, in the replay queue."""
    pairs = list(deliveries)
    values = {
        "replay": replay_id,
        "endpoint": endpoint_id,
        "ids": [delivery for delivery, _ in pairs],
        "events": [event for _, event in pairs],
        "lane": Priority.REPLAY,
        "reason": reason,
    }
    await tx.execute(_CREATE, values)
