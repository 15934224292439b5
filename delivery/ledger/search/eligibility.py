"""How endpoints stand: what decides whether their deliveries may go out, read and not locked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_never

from sqlalchemy import or_, select, text

from delivery.holding import Situation
from delivery.ledger.tables import endpoint_health, endpoints
from delivery.model import EndpointId, EndpointState
from retries.breaker import Breaker, BreakerState
from retries.health import Health, Hold
from retries.limit import InFlightLimit
from retries.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Row, Select

    from delivery.ledger.session import Transaction
    from delivery.model import TenantId

_OF = text("""
    select e.id, e.state, e.state_reason, e.state_actor, e.state_changed_at, e.in_flight_max, e.rate_limit,
           e.rate_per_seconds, h.endpoint_id is not null as known, h.in_flight, h.breaker, h.breaker_since,
           h.probe_at, h.limit_now, h.limit_ramping, h.waits_until, h.rate_next_at,
           clock_timestamp() as now
    from endpoints e left join endpoint_health h on h.endpoint_id = e.id
    where e.id = any (cast(:ids as uuid[])) and e.deleted_at is null
""")


def perhaps_held(holds: Iterable[Hold]) -> Select[Any]:
    """The endpoints that one of these may hold, as `id`: how they stand tells whether it does."""
    both = endpoints.outerjoin(endpoint_health, endpoint_health.c.endpoint_id == endpoints.c.id)
    query = select(endpoints.c.id).select_from(both).where(endpoints.c.deleted_at.is_(None))
    return query.where(or_(*map(_perhaps, holds)))


async def some_perhaps_held(
    tx: Transaction, tenant_id: TenantId | None, holds: Iterable[Hold], *, most: int
) -> list[EndpointId]:
    """At most so many of the endpoints that one of these may hold, of a tenant or of all."""
    query = perhaps_held(holds).limit(most)
    if tenant_id is not None:
        query = query.where(endpoints.c.tenant_id == tenant_id)
    return [EndpointId(id_) for id_ in (await tx.execute(query)).scalars()]


def _perhaps(hold: Hold) -> ColumnElement[bool]:
    """What is so of every endpoint that this holds, and of few others."""
    match hold:
        case Hold.PAUSED:
            return endpoints.c.state == EndpointState.PAUSED
        case Hold.DISABLED:
            return endpoints.c.state == EndpointState.DISABLED
        case Hold.BREAKER_OPEN:
            return endpoint_health.c.breaker != BreakerState.CLOSED
        case Hold.RETRY_AFTER:
            return endpoint_health.c.waits_until.is_not(None)
        case Hold.RATE_LIMIT:
            return endpoints.c.rate_limit.is_not(None)
        case Hold.IN_FLIGHT_LIMIT:
            return endpoint_health.c.in_flight > 0
        case _:
            assert_never(hold)


async def of(tx: Transaction, ids_: Iterable[EndpointId]) -> dict[EndpointId, Situation]:
    """How these endpoints stand now; those that were deleted are missing from the answer."""
    ids = list(set(ids_))
    if not ids:
        return {}
    return {EndpointId(row.id): _situation(row) for row in await tx.execute(_OF, {"ids": ids})}


def _situation(row: Row[*tuple[Any, ...]]) -> Situation:
    rate = None
    if row.rate_limit is not None:
        rate = RateLimit(row.rate_limit, timedelta(seconds=row.rate_per_seconds))
    return Situation(
        state=EndpointState(row.state),
        state_reason=row.state_reason,
        state_actor=row.state_actor,
        state_changed_at=row.state_changed_at,
        health=_health(row) if row.known else None,
        in_flight=row.in_flight or 0,
        most=row.in_flight_max,
        rate=rate,
        next_at=row.rate_next_at,
        now=row.now,
    )


def _health(row: Row[*tuple[Any, ...]]) -> Health:
    """Of an endpoint's health as much as tells what it may be sent; the counts of its breaker do not."""
    return Health(
        Breaker(
            state=BreakerState(row.breaker),
            since=row.breaker_since,
            window_since=row.breaker_since,
            probe_at=row.probe_at,
        ),
        InFlightLimit(row.limit_now, ramping=row.limit_ramping),
        waits_until=row.waits_until,
    )
