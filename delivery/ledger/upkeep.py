"""What time brings: deliveries whose endpoint is gone are cancelled, old idempotency keys forgotten.

Each statement is bounded; the caller comes again while there is more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.ledger.session import Transaction
    from delivery.model import EndpointId

AT_ONCE = 1_000

_CANCEL = text("""
    with doomed as materialized (
        select s.delivery_id, s.attempts
        from unnest(cast(:endpoints as uuid[])) as gone (id)
        join endpoints e on e.id = gone.id and e.deleted_at is not null
        cross join lateral (
            select delivery_id, attempts from schedule
            where endpoint_id = e.id and lane = 0 and claim_id is null
            limit :most for update skip locked
        ) as s
        limit :most
    ), unscheduled as (
        delete from schedule using doomed where schedule.delivery_id = doomed.delivery_id
        returning schedule.delivery_id, schedule.tenant_id, schedule.attempts
    )
    update deliveries
    set status = 'cancelled', reason = 'endpoint_deleted', attempts = unscheduled.attempts,
        finished_at = clock_timestamp()
    from unscheduled
    where deliveries.id = unscheduled.delivery_id and deliveries.tenant_id = unscheduled.tenant_id
""")
_FORGET = text("""
    delete from idempotency_keys
    where (tenant_id, key) in (
        select tenant_id, key from idempotency_keys
        where created_at < statement_timestamp() - :age
        order by created_at limit :most for update skip locked
    )
""")


async def cancel_of_deleted(tx: Transaction, endpoints: Sequence[EndpointId]) -> int:
    """Cancel up to 1,000 unclaimed deliveries of deleted endpoints; returns how many."""
    return (await tx.execute(_CANCEL, {"endpoints": list(endpoints), "most": AT_ONCE})).rowcount


async def forget_idempotency_keys(tx: Transaction, *, older_than: timedelta) -> int:
    """Delete up to 1,000 idempotency keys past their time; returns how many."""
    return (await tx.execute(_FORGET, {"age": older_than, "most": AT_ONCE})).rowcount
