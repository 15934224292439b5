"""The ledger's gauges for metrics: read every few seconds, at a bounded cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.ledger.db import health_check
from delivery.ledger.queue.eligibility import IS_UNHEALTHY
from delivery.ledger.stats import live

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.ledger.db.session import Transaction

_MAX_HELD: Final = 50_000
_MAX_PER_ENDPOINT: Final = 1_000
_MAX_ENDPOINTS: Final = 3_000
_HELD = text(f"""
    select counted.by, count(*) as deliveries from (
        select case when held.state = 'active' then 'breaker' else held.state end as by
        from (
            select e.id, e.state from endpoints e
            where e.deleted_at is null and {IS_UNHEALTHY}
            limit :endpoints
        ) as held
        cross join unnest(cast(:lanes as smallint[])) as lanes (lane)
        cross join lateral (
            select from schedule
            where lane = lanes.lane and endpoint_id = held.id and claim_id is null limit :each
        ) as waiting
        limit :most
    ) as counted group by counted.by
""")  # noqa: S608  a constant
_EXPIRIES = text("""
    select
        (select min(expires_at) from api_keys
         where expires_at > clock_timestamp() and expires_at < clock_timestamp() + interval '1 year'
           and revoked_at is null and replaced_by is null) as api_key,
        (select min(cast(client_certificate ->> 'not_after' as timestamptz)) from endpoints
         where client_certificate is not null and deleted_at is null and state = 'active'
           and cast(client_certificate ->> 'not_after' as timestamptz)
               between clock_timestamp() - interval '30 days' and clock_timestamp() + interval '1 year'
        ) as client_certificate
""")


@dataclass(frozen=True, slots=True)
class Gauges:
    """Seconds since the oldest was due, by priority; held deliveries, by hold; days; expiry times."""

    oldest_due_seconds: Mapping[str, float]
    held_deliveries: Mapping[str, int]
    partition_days_ahead: int
    expiry_timestamps: Mapping[str, float]


async def read(tx: Transaction, *, now: datetime) -> Gauges:
    """Read the gauges."""
    oldest: dict[str, float] = {}
    for lane in Priority:
        found = await live.find_oldest_due(tx, None, priority=lane)
        if found is not None:
            oldest[lane.name.lower()] = max(0.0, (now - found.due_at).total_seconds())
    limits = {"endpoints": _MAX_ENDPOINTS, "each": _MAX_PER_ENDPOINT, "most": _MAX_HELD}
    held = await tx.execute(_HELD, {"lanes": [int(lane) for lane in Priority], **limits})
    expiries = (await tx.execute(_EXPIRIES)).one()
    return Gauges(
        oldest,
        {row.by: row.deliveries for row in held},
        await health_check.count_days_ahead(tx, now=now),
        {name: moment.timestamp() for name, moment in expiries._mapping.items() if moment is not None},  # noqa: SLF001  the public name of a row's mapping
    )
