"""The health of endpoints: one row each, locked to record results, to claim and to change limits.

Locks are taken in one order everywhere: claims, schedule, deliveries, then health by id of the endpoint, then
endpoints and tenants. Claims never wait here: an endpoint whose results are being recorded is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.domain.ids import DeliveryId, EndpointId
from delivery.ledger.db.fast_path import execute
from delivery.ledger.queue.eligibility import IS_ACTIVE
from delivery.ledger.records.endpoints import rate_from_row
from retries.breaker import Breaker, BreakerState
from retries.health import Health
from retries.limit import InFlightLimit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from delivery.ledger.db.session import Transaction
    from retries.rate import RateLimit

_INSERT = text("""
    insert into endpoint_health (endpoint_id, breaker_since, window_since, limit_now, limit_ramping)
    values (:id, :now, :now, :limit, :ramping)
""")
_ENSURE = text("""
    insert into endpoint_health (endpoint_id, breaker_since, window_since, limit_now, limit_ramping)
    select e.id, clock_timestamp(), clock_timestamp(), :limit, true from endpoints e
    where not exists (select from endpoint_health h where h.endpoint_id = e.id)
    on conflict do nothing
""")
_COLUMNS = """
    h.endpoint_id, h.in_flight, h.breaker, h.breaker_since, h.window_since, h.consecutive, h.requests,
    h.failures, h.earlier_requests, h.earlier_failures, h.openings, h.probe_at, h.probe_id, h.limit_now,
    h.limit_ramping, h.limit_credit, h.limit_lowered_at, h.waits_until, h.rate_next_at, h.failing_since,
    h.failed, h.warned, h.last_failed_at, h.last_succeeded_at
"""
_READ = text(f"select {_COLUMNS} from endpoint_health h where h.endpoint_id = :id")  # noqa: S608  a constant
_READ_MANY = text(f"""
    select {_COLUMNS} from endpoint_health h where h.endpoint_id = any (cast(:ids as uuid[]))
""")  # noqa: S608  a constant
_LOCK = text(f"""
    select {_COLUMNS} from endpoint_health h
    where h.endpoint_id = any (cast(:ids as uuid[])) order by h.endpoint_id for update
""")  # noqa: S608  a constant
_LOCK_GATES = text(f"""
    select {_COLUMNS}, e.in_flight_max, e.rate_limit, e.rate_per_seconds, clock_timestamp() as now
    from endpoint_health h join endpoints e on e.id = h.endpoint_id
    where h.endpoint_id = any (cast(:ids as uuid[])) and {IS_ACTIVE}
    order by h.endpoint_id for update of h skip locked
""")  # noqa: S608  a constant
_ACTIVE = text(f"""
    select e.id from endpoints e where e.id = any (cast(:ids as uuid[])) and {IS_ACTIVE}
""")  # noqa: S608  a constant
_WRITE = text("""
    update endpoint_health h
    set in_flight = greatest(0, h.in_flight - w.released), breaker = w.breaker,
        breaker_since = w.breaker_since, window_since = w.window_since,
        consecutive = w.consecutive, requests = w.requests,
        failures = w.failures, earlier_requests = w.earlier_requests, earlier_failures = w.earlier_failures,
        openings = w.openings, probe_at = w.probe_at,
        probe_id = case when w.breaker = 'half_open' then h.probe_id end,
        limit_now = w.limit_now, limit_ramping = w.limit_ramping, limit_credit = w.limit_credit,
        limit_lowered_at = w.limit_lowered_at, waits_until = w.waits_until, failing_since = w.failing_since,
        failed = w.failed, warned = w.warned, last_failed_at = w.last_failed_at,
        last_succeeded_at = w.last_succeeded_at
    from unnest(cast(:endpoint_id as uuid[]), cast(:released as int[]), cast(:breaker as text[]),
        cast(:breaker_since as timestamptz[]), cast(:window_since as timestamptz[]),
        cast(:consecutive as int[]), cast(:requests as int[]), cast(:failures as int[]),
        cast(:earlier_requests as int[]), cast(:earlier_failures as int[]), cast(:openings as int[]),
        cast(:probe_at as timestamptz[]), cast(:limit_now as int[]), cast(:limit_ramping as bool[]),
        cast(:limit_credit as int[]), cast(:limit_lowered_at as timestamptz[]),
        cast(:waits_until as timestamptz[]), cast(:failing_since as timestamptz[]), cast(:failed as int[]),
        cast(:warned as smallint[]), cast(:last_failed_at as timestamptz[]),
        cast(:last_succeeded_at as timestamptz[]))
      as w (endpoint_id, released, breaker, breaker_since, window_since, consecutive, requests, failures,
        earlier_requests, earlier_failures, openings, probe_at, limit_now, limit_ramping, limit_credit,
        limit_lowered_at, waits_until, failing_since, failed, warned, last_failed_at, last_succeeded_at)
    where h.endpoint_id = w.endpoint_id
""")
# A probe that is handed back before it was sent is lost: the breaker opens again, and may probe at once.
_RELEASE = text("""
    with freed as materialized (
        select h.endpoint_id, count(*) as count, bool_or(f.delivery_id = h.probe_id) as probe
        from unnest(cast(:endpoints as uuid[]), cast(:deliveries as uuid[])) as f (endpoint_id, delivery_id)
        join endpoint_health h on h.endpoint_id = f.endpoint_id
        group by h.endpoint_id
    )
    update endpoint_health h
    set in_flight = greatest(0, h.in_flight - freed.count),
        breaker = case when freed.probe then 'open' else h.breaker end,
        probe_at = case when freed.probe then clock_timestamp() else h.probe_at end,
        probe_id = case when freed.probe then null else h.probe_id end
    from freed where h.endpoint_id = freed.endpoint_id
""")
_RESET_RATE_LIMIT = text("update endpoint_health set rate_next_at = null where endpoint_id = :id")
_LOCK_IN_FLIGHT = text("""
    select endpoint_id from endpoint_health
    where in_flight <> 0 or endpoint_id in (select endpoint_id from schedule where claim_id is not null)
    order by endpoint_id for update skip locked
""")
_RECOUNT = text("""
    with counted as (
        select endpoint_id, count(*) as count from schedule where claim_id is not null group by endpoint_id
    )
    update endpoint_health h
    set in_flight = coalesce(c.count, 0)
    from endpoint_health held left join counted c on c.endpoint_id = held.endpoint_id
    where held.endpoint_id = h.endpoint_id and h.endpoint_id = any (cast(:ids as uuid[]))
      and h.in_flight <> coalesce(c.count, 0)
    returning h.endpoint_id
""")


@dataclass(frozen=True, slots=True)
class EndpointHealthRow:
    """An endpoint's health, its number in flight, its probe, and when its rate allows the next delivery."""

    endpoint_id: EndpointId
    health: Health
    in_flight: int
    probe_id: DeliveryId | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointGate:
    """What a claim needs of a locked, active endpoint; `now` is the ledger's, `most` None: default."""

    health_row: EndpointHealthRow
    max_in_flight: int | None
    rate: RateLimit | None
    now: datetime


async def insert(tx: Transaction, endpoint_id: EndpointId, health: Health, *, now: datetime) -> None:
    """Write the health of a new endpoint."""
    limit = health.limit
    await tx.execute(_INSERT, {"id": endpoint_id, "now": now, "limit": limit.now, "ramping": limit.ramping})


async def ensure(tx: Transaction, *, limit: int) -> int:
    """Insert a row for every endpoint without one (created by an older release); returns how many."""
    return (await tx.execute(_ENSURE, {"limit": limit})).rowcount


async def read(tx: Transaction, endpoint_id: EndpointId) -> EndpointHealthRow | None:
    """Read an endpoint's health."""
    row = (await tx.execute(_READ, {"id": endpoint_id})).one_or_none()
    return None if row is None else _health_from_row(row)


async def read_many(
    tx: Transaction, endpoint_ids: Sequence[EndpointId]
) -> dict[EndpointId, EndpointHealthRow]:
    """Read the health of these endpoints."""
    rows = await tx.execute(_READ_MANY, {"ids": list(endpoint_ids)})
    return {EndpointId(row.endpoint_id): _health_from_row(row) for row in rows}


async def lock(tx: Transaction, endpoint_ids: Iterable[EndpointId]) -> dict[EndpointId, EndpointHealthRow]:
    """Lock and read the health of these endpoints, until the transaction ends; waits for other locks."""
    rows = await execute(tx, _LOCK, {"ids": list(endpoint_ids)})
    return {standing.endpoint_id: standing for standing in map(_health_from_row, rows)}


async def lock_gates(
    tx: Transaction, endpoint_ids: Collection[EndpointId]
) -> tuple[dict[EndpointId, EndpointGate], set[EndpointId]]:
    """Lock the gates of active endpoints; also returns the active ones that are locked elsewhere."""
    rows = await execute(tx, _LOCK_GATES, {"ids": list(endpoint_ids)})
    found = {EndpointId(row.endpoint_id): _gate_from_row(row) for row in rows}
    missing = [endpoint for endpoint in endpoint_ids if endpoint not in found]
    if not missing:
        return found, set()
    return found, {EndpointId(row.id) for row in await execute(tx, _ACTIVE, {"ids": missing})}


async def write(
    tx: Transaction, healths: Mapping[EndpointId, Health], *, released: Mapping[EndpointId, int]
) -> None:
    """Write the health of locked endpoints, and subtract from each what is no longer in flight."""
    columns: dict[str, list[Any]] = {name: [] for name in _WRITTEN_COLUMNS}
    for endpoint_id, health in healths.items():
        breaker, limit = health.breaker, health.limit
        values = (
            endpoint_id, released.get(endpoint_id, 0), str(breaker.state), breaker.since,
            breaker.window_since, breaker.consecutive, breaker.requests, breaker.failures,
            breaker.earlier_requests, breaker.earlier_failures, breaker.openings, breaker.probe_at, limit.now,
            limit.ramping, limit.credit, limit.lowered_at, health.waits_until, health.failing_since,
            health.failed, health.warned, health.last_failed_at, health.last_succeeded_at,
        )  # fmt: skip
        for name, value in zip(_WRITTEN_COLUMNS, values, strict=True):
            columns[name].append(value)
    await execute(tx, _WRITE, columns)


async def reset_rate_limit(tx: Transaction, endpoint_id: EndpointId) -> None:
    """Reset the rate of a locked endpoint after a change of its limit: the next delivery may go at once."""
    await tx.execute(_RESET_RATE_LIMIT, {"id": endpoint_id})


async def release_in_flight(tx: Transaction, freed: Sequence[tuple[EndpointId, DeliveryId]]) -> None:
    """Subtract from what is in flight deliveries that were claimed and not attempted."""
    if freed:
        await lock(tx, {endpoint_id for endpoint_id, _ in freed})
        await tx.execute(
            _RELEASE, {"endpoints": [pair[0] for pair in freed], "deliveries": [pair[1] for pair in freed]}
        )


async def recount_in_flight(tx: Transaction) -> list[EndpointId]:
    """Recount what is in flight; returns the endpoints with a wrong count, which should be none.

    In two statements: the second sees everything that was committed before the locks were taken.
    """
    locked = (await tx.execute(_LOCK_IN_FLIGHT)).scalars().all()
    return [EndpointId(id_) for id_ in (await tx.execute(_RECOUNT, {"ids": locked})).scalars()]


_WRITTEN_COLUMNS = (
    "endpoint_id", "released", "breaker", "breaker_since", "window_since", "consecutive", "requests",
    "failures", "earlier_requests", "earlier_failures", "openings", "probe_at", "limit_now", "limit_ramping",
    "limit_credit", "limit_lowered_at", "waits_until", "failing_since", "failed", "warned", "last_failed_at",
    "last_succeeded_at",
)  # fmt: skip


def _gate_from_row(row: Any) -> EndpointGate:
    return EndpointGate(_health_from_row(row), row.in_flight_max, rate_from_row(row), row.now)


def _health_from_row(row: Any) -> EndpointHealthRow:
    return EndpointHealthRow(
        endpoint_id=EndpointId(row.endpoint_id),
        health=Health(
            breaker=Breaker(
                state=BreakerState(row.breaker),
                since=row.breaker_since,
                window_since=row.window_since,
                consecutive=row.consecutive,
                requests=row.requests,
                failures=row.failures,
                earlier_requests=row.earlier_requests,
                earlier_failures=row.earlier_failures,
                openings=row.openings,
                probe_at=row.probe_at,
            ),
            limit=InFlightLimit(row.limit_now, row.limit_ramping, row.limit_credit, row.limit_lowered_at),
            waits_until=row.waits_until,
            failing_since=row.failing_since,
            failed=row.failed,
            warned=row.warned,
            last_failed_at=row.last_failed_at,
            last_succeeded_at=row.last_succeeded_at,
        ),
        in_flight=row.in_flight,
        probe_id=None if row.probe_id is None else DeliveryId(row.probe_id),
        next_at=row.rate_next_at,
    )
