"""What the accept transaction reads and writes: filters, idempotency keys, events with their deliveries."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.ledger.session import DUE_CHANNEL
from delivery.model import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from delivery.ledger.session import Transaction
    from delivery.model import DeliveryId, EndpointId, EventId, TenantId

# PostgreSQL takes less than 8,000 bytes; 44 letters and a comma stand for one tenant and endpoint.
_MOST_NOTIFIED = 170
_DELIVERIES_AT_ONCE = 5_000
# Before the names of those that have replays due; who does not know it looks for itself.
REPLAY_MARK = "replay:"

_VERSIONS = text("select id, endpoints_version from tenants where id = any (cast(:ids as uuid[]))")
_FILTERS = text("""
    select tenant_id, id, filter from endpoints
    where tenant_id = any (cast(:ids as uuid[])) and deleted_at is null and operational = :operational
    order by id
""")
_REMEMBER = text("""
    insert into idempotency_keys (tenant_id, key, request_sha256, answer, created_at)
    select * from unnest(cast(:tenants as uuid[]), cast(:keys as text[]), cast(:requests as bytea[]),
                         cast(:answers as bytea[]), cast(:moments as timestamptz[]))
    on conflict do nothing
    returning tenant_id, key
""")
_RECALL = text("""
    select k.tenant_id, k.key, k.request_sha256, k.answer
    from unnest(cast(:tenants as uuid[]), cast(:keys as text[])) as wanted (tenant_id, key)
    join idempotency_keys k on k.tenant_id = wanted.tenant_id and k.key = wanted.key
""")
_EVENTS = text("""
    insert into events (id, tenant_id, type, body, body_sha256, matched, created_at, idempotency_key)
    select * from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:types as text[]),
                         cast(:bodies as bytea[]), cast(:hashes as bytea[]), cast(:matched as int[]),
                         cast(:moments as timestamptz[]), cast(:keys as text[]))
""")
# Due by the ledger's clock: an accepter whose clock is a little ahead must not make deliveries wait.
_DELIVERIES = text("""
    with owed as materialized (
        select *
        from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:events as uuid[]),
                    cast(:endpoints as uuid[]), cast(:types as text[]), cast(:moments as timestamptz[]),
                    cast(:patterns as text[]))
            as o (id, tenant_id, event_id, endpoint_id, event_type, created_at, matched_by)
    ), scheduled as (
        insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
        select id, tenant_id, endpoint_id, event_id, least(created_at, clock_timestamp()) from owed
    )
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, created_at, matched_by)
    select id, tenant_id, event_id, endpoint_id, event_type, created_at, matched_by from owed
""")
_NOTIFY = text("select pg_notify(:channel, :payload)")


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event to insert; `matched` counts the endpoints it is owed to."""

    id: EventId
    tenant_id: TenantId
    type: str
    body: bytes
    body_sha256: bytes
    matched: int
    created_at: datetime
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery to insert, due when it was made; `matched_by` is the pattern that asked for it."""

    id: DeliveryId
    tenant_id: TenantId
    event_id: EventId
    endpoint_id: EndpointId
    event_type: str
    created_at: datetime
    matched_by: str | None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One idempotency key with the request it stands for and the answer that was given."""

    tenant_id: TenantId
    key: str
    request_sha256: bytes
    answer: bytes
    created_at: datetime


async def endpoint_versions(tx: Transaction, tenants: Iterable[TenantId]) -> dict[UUID, int]:
    """The version of each tenant's set of endpoints; unknown tenants are missing from the answer."""
    rows = await tx.execute(_VERSIONS, {"ids": list(tenants)})
    return {row.id: row.endpoints_version for row in rows}


async def filters(
    tx: Transaction, tenants: Iterable[UUID], *, operational: bool = False
) -> dict[UUID, list[tuple[EndpointId, tuple[str, ...]]]]:
    """The endpoints of these tenants with their filters, by tenant: those for events, or operational ones."""
    found: dict[UUID, list[tuple[EndpointId, tuple[str, ...]]]] = {}
    for row in await tx.execute(_FILTERS, {"ids": list(tenants), "operational": operational}):
        found.setdefault(row.tenant_id, []).append((row.id, tuple(row.filter)))
    return found


async def remember(tx: Transaction, keys: Sequence[KeyRow]) -> set[tuple[UUID, str]]:
    """Insert the keys that are new, and return those; waits for a concurrent holder of the same key."""
    # One order for everybody, so that two web processes never wait for each other.
    ordered = sorted(keys, key=lambda row: (row.tenant_id, row.key))
    rows = await tx.execute(
        _REMEMBER,
        {
            "tenants": [row.tenant_id for row in ordered],
            "keys": [row.key for row in ordered],
            "requests": [row.request_sha256 for row in ordered],
            "answers": [row.answer for row in ordered],
            "moments": [row.created_at for row in ordered],
        },
    )
    return {(row.tenant_id, row.key) for row in rows}


async def recall(
    tx: Transaction, keys: Sequence[tuple[TenantId, str]]
) -> Mapping[tuple[UUID, str], tuple[bytes, bytes]]:
    """The (request hash, answer) of each key that is known."""
    rows = await tx.execute(_RECALL, {"tenants": [k[0] for k in keys], "keys": [k[1] for k in keys]})
    return {(row.tenant_id, row.key): (row.request_sha256, row.answer) for row in rows}


async def insert(tx: Transaction, events: Sequence[EventRow], deliveries: Sequence[DeliveryRow]) -> None:
    """Write events and what is owed for them, and wake the relay at commit."""
    await tx.execute(
        _EVENTS,
        {
            "ids": [row.id for row in events],
            "tenants": [row.tenant_id for row in events],
            "types": [row.type for row in events],
            "bodies": [row.body for row in events],
            "hashes": [row.body_sha256 for row in events],
            "matched": [row.matched for row in events],
            "moments": [row.created_at for row in events],
            "keys": [row.idempotency_key for row in events],
        },
    )
    # In parts, so that no statement of a large fan-out comes near the statement timeout.
    for start in range(0, len(deliveries), _DELIVERIES_AT_ONCE):
        await _insert_deliveries(tx, deliveries[start : start + _DELIVERIES_AT_ONCE])
    await wake(tx, {(row.tenant_id, row.endpoint_id) for row in deliveries})


async def wake(tx: Transaction, pairs: set[tuple[TenantId, EndpointId]], *, lane: Lane = Lane.LIVE) -> None:
    """Tell the relay, at commit, that these endpoints may have something due."""
    if pairs:
        await tx.execute(_NOTIFY, {"channel": DUE_CHANNEL, "payload": due_payload(pairs, lane=lane)})


async def _insert_deliveries(tx: Transaction, deliveries: Sequence[DeliveryRow]) -> None:
    await tx.execute(
        _DELIVERIES,
        {
            "ids": [row.id for row in deliveries],
            "tenants": [row.tenant_id for row in deliveries],
            "events": [row.event_id for row in deliveries],
            "endpoints": [row.endpoint_id for row in deliveries],
            "types": [row.event_type for row in deliveries],
            "moments": [row.created_at for row in deliveries],
            "patterns": [row.matched_by for row in deliveries],
        },
    )


def due_payload(pairs: set[tuple[TenantId, EndpointId]], *, lane: Lane = Lane.LIVE) -> str:
    """Name the endpoints that have something due; empty (look for yourself) when they are too many."""
    if len(pairs) > _MOST_NOTIFIED:
        return ""
    mark = REPLAY_MARK if lane is Lane.REPLAY else ""
    names = (base64.b64encode(tenant.bytes + endpoint.bytes).decode() for tenant, endpoint in pairs)
    return mark + ",".join(names)
