"""Recalls a replay job's deliveries before a worker has them, as if they had never been replayed.

Locks: the job, then `schedule`, then `deliveries`. Deliveries that another job waits for stay with that job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.replay import ItemState
from delivery.ledger.replays.items import ItemStateChange

if TYPE_CHECKING:
    from delivery.domain.ids import ReplayId
    from delivery.ledger.db.session import Transaction

_LOCK_RECALLABLE = text("""
    select i.delivery_id from unnest(cast(:states as text[])) as wanted (state)
    cross join lateral (
        select delivery_id, attempts from replay_items
        where replay_id = :replay and state = wanted.state order by endpoint_id, delivery_id limit :most
    ) as i
    join schedule s on s.delivery_id = i.delivery_id
    where s.claim_id is null and (cast(:tried as bool) or s.attempts = i.attempts)
    limit :most
    for update of s skip locked
""")
_HAND_OVER = text("""
    update replay_items other
    set was_status = coalesce(other.was_status, mine.was_status),
        was_reason = case when other.was_status is null then mine.was_reason else other.was_reason end,
        was_finished_at = coalesce(other.was_finished_at, mine.was_finished_at),
        was_due_at = coalesce(other.was_due_at, mine.was_due_at)
    from replay_items mine
    where mine.replay_id = :replay and mine.delivery_id = any (cast(:ids as uuid[]))
      and other.delivery_id = mine.delivery_id and other.replay_id <> mine.replay_id
      and other.state in ('queued', 'retrying')
    returning other.delivery_id
""")
# A finished delivery is finished as before, with its new attempts; a waiting one waits as before.
_RESTORE_DELIVERIES = text("""
    with mine as materialized (
        select i.* from replay_items i
        where i.replay_id = :replay and i.delivery_id = any (cast(:ids as uuid[]))
    ), gone as (
        delete from schedule s using mine
        where s.delivery_id = mine.delivery_id and mine.was_status <> 'pending'
        returning s.delivery_id, s.attempts, s.outcome, s.http_status, s.sequence,
                  mine.was_status, mine.was_reason, mine.was_finished_at
    ), again as (
        update schedule s
        set lane = :live, due_at = case when s.attempts = mine.attempts then mine.was_due_at else s.due_at end
        from mine where s.delivery_id = mine.delivery_id and mine.was_status = 'pending'
    )
    update deliveries d
    set status = gone.was_status, reason = gone.was_reason, finished_at = gone.was_finished_at,
        attempts = gone.attempts, outcome = gone.outcome, http_status = gone.http_status,
        sequence = gone.sequence
    from gone where d.id = gone.delivery_id
""")
_RESET_ITEMS = text("""
    with before as materialized (
        select replay_id, delivery_id, state from replay_items
        where replay_id = :replay and delivery_id = any (cast(:ids as uuid[]))
    ), moved as (
        update replay_items i
        set state = :state, attempts = null, was_status = null, was_reason = null, was_finished_at = null,
            was_due_at = null, changed_at = clock_timestamp(),
            queued_at = case when :state = 'waiting' then null else queued_at end
        from before where i.replay_id = before.replay_id and i.delivery_id = before.delivery_id
        returning before.state
    )
    select state, count(*) as number from moved group by state
""")
_CANCEL_WAITING = text("""
    with few as materialized (
        select replay_id, delivery_id from replay_items where replay_id = :replay and state = 'waiting'
        order by endpoint_id, delivery_id limit :most
    ), given as (
        update replay_items i set state = 'cancelled', changed_at = clock_timestamp()
        from few where i.replay_id = few.replay_id and i.delivery_id = few.delivery_id returning 1
    )
    select count(*) from given
""")


async def recall_items(
    tx: Transaction, replay_id: ReplayId, target_state: ItemState, *, include_retrying: bool, limit: int
) -> list[ItemStateChange]:
    """Take unstarted deliveries out of the replay queue, and restore their state from before the job.

    With `tried`, also those that wait for a retry. Deliveries that another job waits for stay with that job.
    """
    states = [ItemState.QUEUED, *([ItemState.RETRYING] if include_retrying else [])]
    mine = await tx.execute(
        _LOCK_RECALLABLE, {"replay": replay_id, "states": states, "tried": include_retrying, "most": limit}
    )
    ids = list(mine.scalars())
    if not ids:
        return []
    some = {"replay": replay_id, "ids": ids}
    left = set((await tx.execute(_HAND_OVER, some)).scalars())
    if own := [id_ for id_ in ids if id_ not in left]:
        await tx.execute(_RESTORE_DELIVERIES, {"replay": replay_id, "ids": own, "live": Priority.LIVE})
    rows = await tx.execute(_RESET_ITEMS, {**some, "state": target_state})
    return [ItemStateChange(ItemState(row.state), target_state, row.number) for row in rows]


async def cancel_waiting(tx: Transaction, replay_id: ReplayId, *, limit: int) -> int:
    """Remove waiting items from a job; returns how many."""
    return int((await tx.execute(_CANCEL_WAITING, {"replay": replay_id, "most": limit})).scalar_one())
