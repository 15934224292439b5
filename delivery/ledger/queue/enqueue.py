"""The SQL of intake: subscriptions, idempotency keys, events and deliveries."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.ids import TenantId
from delivery.domain.subscription import Subscription
from delivery.ledger.db.fast_path import execute
from delivery.ledger.db.session import DUE_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import TextClause

    from delivery.domain.ids import DeliveryId, EndpointId, EventId
    from delivery.ledger.db.fast_path import Executor
    from delivery.ledger.db.session import Transaction

# A NOTIFY payload has less than 8,000 bytes; 44 letters and a comma name one tenant and endpoint.
_MAX_NOTIFIED_ENDPOINTS = 170
# Deliveries that one statement writes.
INSERT_BATCH_SIZE = 5_000
# Marks endpoints with due replays; an older relay that does not know it polls.
REPLAY_PREFIX = "replay:"

_ENDPOINT_VERSIONS = text("select id, endpoints_version from tenants where id = any (cast(:ids as uuid[]))")
_SUBSCRIPTIONS = text("""
    select tenant_id, id, filter, channels, condition from endpoints
    where tenant_id = any (cast(:ids as uuid[])) and deleted_at is null and operational = :operational
    order by id
""")
_INSERT_IDEMPOTENCY_KEYS = text("""
    insert into idempotency_keys (tenant_id, key, request_sha256, answer, created_at)
    select * from unnest(cast(:tenants as uuid[]), cast(:keys as text[]), cast(:requests as bytea[]),
                         cast(:answers as bytea[]), cast(:moments as timestamptz[]))
    on conflict do nothing
    returning tenant_id, key
""")
_FIND_IDEMPOTENCY_KEYS = text("""
    select k.tenant_id, k.key, k.request_sha256, k.answer
    from unnest(cast(:tenants as uuid[]), cast(:keys as text[])) as wanted (tenant_id, key)
    join idempotency_keys k on k.tenant_id = wanted.tenant_id and k.key = wanted.key
""")
# All or nothing: only if each tenant's endpoints are unchanged since they were matched.
# Due by the ledger's clock: a web process whose clock is ahead must not make deliveries wait.
_INSERT_TEMPLATE: Final = """
    with standing as materialized (
        select count(*) = cardinality(cast(:known as uuid[])) as current
        from unnest(cast(:known as uuid[]), cast(:versions as bigint[])) as k (id, version)
        join tenants t on t.id = k.id and t.endpoints_version = k.version
    ), happened as (
        insert into events (
            id, tenant_id, type, body, body_sha256, matched, created_at, idempotency_key{event_columns}
        )
        select id, tenant_id, type, body, body_sha256, matched, cast(:now as timestamptz),
               idempotency_key{event_values}
        from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:types as text[]),
                    cast(:bodies as bytea[]), cast(:hashes as bytea[]), cast(:matched as int[]),
                    cast(:keys as text[]){event_arrays})
            as e (id, tenant_id, type, body, body_sha256, matched, idempotency_key{event_names})
        where (select current from standing)
    ), owed as materialized (
        select *
        from unnest(cast(:owed as uuid[]), cast(:owed_tenants as uuid[]), cast(:owed_events as uuid[]),
                    cast(:owed_endpoints as uuid[]), cast(:owed_types as text[]),
                    cast(:owed_patterns as text[]){owed_arrays})
            as o (id, tenant_id, event_id, endpoint_id, event_type, matched_by{owed_columns})
        where (select current from standing)
    ), scheduled as (
        insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
        select id, tenant_id, endpoint_id, event_id, least(cast(:now as timestamptz), clock_timestamp())
        from owed
    ), written as (
        insert into deliveries (
            id, tenant_id, event_id, endpoint_id, event_type, created_at, matched_by{owed_columns}
        )
        select id, tenant_id, event_id, endpoint_id, event_type, cast(:now as timestamptz),
               matched_by{owed_columns}
        from owed
    )
    select current, case when current and :tells then pg_notify(:channel, :payload) end as told from standing
"""
_TEMPLATE_SLOTS: Final = (
    "event_columns",
    "event_values",
    "event_arrays",
    "event_names",
    "owed_arrays",
    "owed_columns",
)
_INSERT_EVENTS = text(_INSERT_TEMPLATE.format(**dict.fromkeys(_TEMPLATE_SLOTS, "")))
# A statement of its own, so that without traces, channels and failed conditions nothing of them
# costs anything. SQL has no arrays of arrays of unequal length: channels are joined, they have no commas.
_INSERT_EVENTS_WITH_EXTRAS = text(
    _INSERT_TEMPLATE.format(
        event_columns=", traceparent, channels",
        event_values=", traceparent, string_to_array(channels, ',')",
        event_arrays=", cast(:traces as text[]), cast(:channels as text[])",
        event_names=", traceparent, channels",
        owed_arrays=", cast(:owed_failed as text[])",
        owed_columns=", condition_failed",
    )
)
_NOTIFY = text("select pg_notify(:channel, :payload)")


class EventRow(NamedTuple):
    """One event to insert; `matched` counts its endpoints."""

    id: EventId
    tenant_id: TenantId
    type: str
    body: bytes
    body_sha256: bytes
    matched: int
    idempotency_key: str | None = None
    traceparent: str | None = None
    channels: tuple[str, ...] = ()


class DeliveryRow(NamedTuple):
    """One delivery to insert, due at once; `matched_by` is the pattern that matched.

    `condition_failed` says why the endpoint's condition could not be evaluated.
    """

    id: DeliveryId
    tenant_id: TenantId
    event_id: EventId
    endpoint_id: EndpointId
    event_type: str
    matched_by: str | None
    condition_failed: str | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKeyRow:
    """One idempotency key with its request and answer."""

    tenant_id: TenantId
    key: str
    request_sha256: bytes
    answer: bytes
    created_at: datetime


async def load_endpoint_versions(tx: Transaction, tenant_ids: Iterable[TenantId]) -> dict[TenantId, int]:
    """The version of each tenant's endpoints; unknown tenants are missing from the result."""
    rows = await execute(tx, _ENDPOINT_VERSIONS, {"ids": list(tenant_ids)})
    return {TenantId(row.id): row.endpoints_version for row in rows}


async def load_subscriptions(
    tx: Transaction, tenant_ids: Iterable[UUID], *, operational: bool = False
) -> dict[UUID, list[tuple[EndpointId, Subscription]]]:
    """The subscriptions of these tenants, by tenant: for events, or of operational endpoints."""
    found: dict[UUID, list[tuple[EndpointId, Subscription]]] = {}
    for row in await tx.execute(_SUBSCRIPTIONS, {"ids": list(tenant_ids), "operational": operational}):
        one = Subscription(tuple(row.filter), tuple(row.channels or ()), row.condition)
        found.setdefault(row.tenant_id, []).append((row.id, one))
    return found


async def insert_idempotency_keys(
    tx: Transaction, keys: Sequence[IdempotencyKeyRow]
) -> set[tuple[UUID, str]]:
    """Insert the new keys and return them; waits for a concurrent transaction with the same key."""
    # Always in the same order, so that two web processes never deadlock.
    ordered = sorted(keys, key=lambda row: (row.tenant_id, row.key))
    rows = await execute(
        tx,
        _INSERT_IDEMPOTENCY_KEYS,
        {
            "tenants": [row.tenant_id for row in ordered],
            "keys": [row.key for row in ordered],
            "requests": [row.request_sha256 for row in ordered],
            "answers": [row.answer for row in ordered],
            "moments": [row.created_at for row in ordered],
        },
    )
    return {(row.tenant_id, row.key) for row in rows}


async def find_idempotency_keys(
    tx: Transaction, keys: Sequence[tuple[TenantId, str]]
) -> Mapping[tuple[UUID, str], tuple[bytes, bytes]]:
    """The (request hash, answer) of each known key."""
    rows = await execute(
        tx, _FIND_IDEMPOTENCY_KEYS, {"tenants": [k[0] for k in keys], "keys": [k[1] for k in keys]}
    )
    return {(row.tenant_id, row.key): (row.request_sha256, row.answer) for row in rows}


async def insert_events(
    executor: Executor,
    events: Sequence[EventRow],
    deliveries: Sequence[DeliveryRow],
    *,
    now: datetime,
    expected_versions: Mapping[TenantId, int] | None = None,
    traced: bool = False,
) -> bool:
    """Write events with their deliveries, created `now`, and wake the relay at commit.

    `known` are tenants with the version of their endpoints that the deliveries were made from: if one has
    changed since, nothing is written and the result is False. More deliveries than fit one statement need a
    transaction. `traced`: store the events' traces too.
    """
    at_once, more = deliveries[:INSERT_BATCH_SIZE], deliveries[INSERT_BATCH_SIZE:]
    pairs = {(row.tenant_id, row.endpoint_id) for row in deliveries}
    values = _bind_values(events, at_once, expected_versions or {}, pairs, now=now)
    (answer,) = await execute(executor, *_choose_statement(events, at_once, values, traced=traced))
    if not answer.current:
        return False
    # In parts, so that no statement of a large fan-out comes near the statement timeout.
    for start in range(0, len(more), INSERT_BATCH_SIZE):
        part = more[start : start + INSERT_BATCH_SIZE]
        await execute(
            executor, *_choose_statement([], part, _bind_values([], part, {}, set(), now=now), traced=False)
        )
    return True


async def notify_due(
    tx: Transaction, endpoints: set[tuple[TenantId, EndpointId]], *, priority: Priority = Priority.LIVE
) -> None:
    """Notify the relay, at commit, that these endpoints may have due deliveries."""
    if endpoints:
        await execute(
            tx, _NOTIFY, {"channel": DUE_CHANNEL, "payload": encode_due_payload(endpoints, priority=priority)}
        )


def _choose_statement(
    events: Sequence[EventRow], deliveries: Sequence[DeliveryRow], values: dict[str, Any], *, traced: bool
) -> tuple[TextClause, dict[str, Any]]:
    """Build the statement that writes everything, and its values."""
    more = traced or any(row.channels for row in events) or any(row.condition_failed for row in deliveries)
    if not more:
        return _INSERT_EVENTS, values
    beside = {
        "traces": [row.traceparent for row in events] if traced else [None] * len(events),
        "channels": [",".join(row.channels) or None for row in events],
        "owed_failed": [row.condition_failed for row in deliveries],
    }
    return _INSERT_EVENTS_WITH_EXTRAS, values | beside


def _bind_values(
    events: Sequence[EventRow],
    deliveries: Sequence[DeliveryRow],
    expected_versions: Mapping[TenantId, int],
    endpoints: set[tuple[TenantId, EndpointId]],
    *,
    now: datetime,
) -> dict[str, Any]:
    return {
        "known": list(expected_versions),
        "versions": list(expected_versions.values()),
        "ids": [row.id for row in events],
        "tenants": [row.tenant_id for row in events],
        "types": [row.type for row in events],
        "bodies": [row.body for row in events],
        "hashes": [row.body_sha256 for row in events],
        "matched": [row.matched for row in events],
        "keys": [row.idempotency_key for row in events],
        "owed": [row.id for row in deliveries],
        "owed_tenants": [row.tenant_id for row in deliveries],
        "owed_events": [row.event_id for row in deliveries],
        "owed_endpoints": [row.endpoint_id for row in deliveries],
        "owed_types": [row.event_type for row in deliveries],
        "owed_patterns": [row.matched_by for row in deliveries],
        "now": now,
        "tells": bool(endpoints),
        "channel": DUE_CHANNEL,
        "payload": encode_due_payload(endpoints) if endpoints else "",
    }


def encode_due_payload(
    endpoints: set[tuple[TenantId, EndpointId]], *, priority: Priority = Priority.LIVE
) -> str:
    """Name the endpoints with due deliveries; empty (the relay scans) if they are too many."""
    if len(endpoints) > _MAX_NOTIFIED_ENDPOINTS:
        return ""
    mark = REPLAY_PREFIX if priority is Priority.REPLAY else ""
    names = (base64.b64encode(tenant.bytes + endpoint.bytes).decode() for tenant, endpoint in endpoints)
    return mark + ",".join(names)
