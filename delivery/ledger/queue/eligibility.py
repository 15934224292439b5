"""May this endpoint be sent to now? The one place that says so in SQL, and that reads what decides it.

The fragments are conditions over `endpoints e left join endpoint_health h`; each statement composes what it
needs. `retries.health.compute_allowance` and `delivery.domain.holds.find_hold` say the same in Python, for
one endpoint whose row was read. A property test holds SQL and Python equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from sqlalchemy import or_, select, text

from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus
from delivery.domain.ids import EndpointId
from delivery.ledger.db.tables import endpoint_health, endpoints
from delivery.ledger.records.endpoints import rate_from_row
from retries.breaker import Breaker, BreakerState
from retries.health import Health, Hold
from retries.limit import InFlightLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Row, Select

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Transaction

IS_ACTIVE: Final = "e.state = 'active' and e.deleted_at is null"
_WAIT_IS_OVER: Final = "(h.waits_until is null or h.waits_until <= clock_timestamp())"
_RATE_PERMITS: Final = "(h.rate_next_at is null or h.rate_next_at <= clock_timestamp())"
# Something may be claimed, if only the probe of an open breaker. How much is decided under the lock of the
# endpoint's health, which also knows its in-flight limit. Without a health row nothing may.
MAY_CLAIM: Final = f"""
    {IS_ACTIVE}
    and (h.breaker = 'closed' or h.breaker = 'open' and h.probe_at <= clock_timestamp())
    and {_WAIT_IS_OVER}
    and {_RATE_PERMITS}
"""
# Nothing holds the endpoint's deliveries. Waiting for a probe is a hold, for all but the probe itself.
NOT_HELD: Final = f"""
    {IS_ACTIVE}
    and (h.breaker is null or h.breaker = 'closed')
    and {_WAIT_IS_OVER}
    and {_RATE_PERMITS}
    and (h.in_flight is null or h.in_flight < least(h.limit_now, e.in_flight_max))
"""
# Breakers are looked up once and hashed: joining them to every endpoint would cost a lookup for each.
IS_UNHEALTHY: Final = """
    (e.state <> 'active' or e.id in (select endpoint_id from endpoint_health where breaker <> 'closed'))
"""

_STATUSES = text("""
    select e.id, e.state, e.state_reason, e.state_actor, e.state_changed_at, e.in_flight_max, e.rate_limit,
           e.rate_per_seconds, h.endpoint_id is not null as known, h.in_flight, h.breaker, h.breaker_since,
           h.probe_at, h.limit_now, h.limit_ramping, h.waits_until, h.rate_next_at,
           clock_timestamp() as now
    from endpoints e left join endpoint_health h on h.endpoint_id = e.id
    where e.id = any (cast(:ids as uuid[])) and e.deleted_at is null
""")


def select_maybe_held(holds: Iterable[Hold]) -> Select[Any]:
    """Select the `id` of endpoints that one of these may hold: a superset, `find_hold` decides."""
    both = endpoints.outerjoin(endpoint_health, endpoint_health.c.endpoint_id == endpoints.c.id)
    query = select(endpoints.c.id).select_from(both).where(endpoints.c.deleted_at.is_(None))
    return query.where(or_(*map(_match_hold, holds)))


async def find_maybe_held(
    tx: Transaction, tenant_id: TenantId | None, holds: Iterable[Hold], *, limit: int
) -> list[EndpointId]:
    """Return up to `limit` endpoints that one of these may hold, of one tenant or of all."""
    query = select_maybe_held(holds).limit(limit)
    if tenant_id is not None:
        query = query.where(endpoints.c.tenant_id == tenant_id)
    return [EndpointId(id_) for id_ in (await tx.execute(query)).scalars()]


def _match_hold(hold: Hold) -> ColumnElement[bool]:
    """True for every endpoint that this holds, and for few others."""
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


async def load_statuses(
    tx: Transaction, endpoint_ids: Iterable[EndpointId]
) -> dict[EndpointId, EndpointStatus]:
    """Return the status of these endpoints now; deleted ones are missing from the answer."""
    ids = list(set(endpoint_ids))
    if not ids:
        return {}
    return {EndpointId(row.id): _status_from_row(row) for row in await tx.execute(_STATUSES, {"ids": ids})}


def _status_from_row(row: Row[*tuple[Any, ...]]) -> EndpointStatus:
    return EndpointStatus(
        state=EndpointState(row.state),
        state_reason=row.state_reason,
        state_actor=row.state_actor,
        state_changed_at=row.state_changed_at,
        health=_health_from_row(row) if row.known else None,
        in_flight=row.in_flight or 0,
        max_in_flight=row.in_flight_max,
        rate=rate_from_row(row),
        next_at=row.rate_next_at,
        now=row.now,
    )


def _health_from_row(row: Row[*tuple[Any, ...]]) -> Health:
    """The part of an endpoint's health that decides what it may be sent: no counts of the breaker."""
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
