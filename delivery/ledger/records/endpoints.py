"""Endpoints. A deleted one keeps its row, for its history, and no query here returns it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, cast, exists, or_, select, text, update
from sqlalchemy import insert as insert_into

from delivery.domain.endpoint import Endpoint, EndpointLimits, EndpointState, Signature
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.ids import EndpointId, TenantId
from delivery.domain.pagination import Page
from delivery.ledger.db.bounded_scan import build_page, build_scope, select_first_rows
from delivery.ledger.db.tables import endpoint_health, endpoints
from retries.breaker import BreakerState
from retries.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction


# Only if its URL is still the failing one: a changed URL may have fixed it.
_DISABLE = text("""
    update endpoints
    set state = 'disabled', state_reason = :reason, state_actor = :actor, state_changed_at = :at,
        version = version + 1, updated_at = :at
    where id = :id and url = :url and state <> 'disabled' and deleted_at is null
""")


async def insert(tx: Transaction, endpoint: Endpoint) -> None:
    """Write a new endpoint."""
    await tx.execute(
        insert_into(endpoints).values(
            id=endpoint.id,
            tenant_id=endpoint.tenant_id,
            signature=endpoint.signature,
            version=endpoint.version,
            created_at=endpoint.created_at,
            operational=endpoint.operational,
            **_mutable_columns(endpoint),
        )
    )


async def read(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, lock: bool = False
) -> Endpoint | None:
    """One endpoint of a tenant, optionally locked until the transaction ends."""
    query = select(endpoints).where(*_match_endpoint(tenant_id, endpoint_id))
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _endpoint_from_row(row)


async def read_page(
    tx: Transaction,
    tenant_id: TenantId | None,
    page_request: PageRequest,
    *,
    states: Sequence[EndpointState] = (),
    unhealthy: bool = False,
    search_text: str = "",
) -> Page[Endpoint]:
    """A tenant's endpoints, or all tenants', in one of these states, newest first.

    `troubled`: those that are not active, or whose breaker is not closed. `words` are in the URL or the
    description, in any case. With such a filter the cost is bounded: a page may have fewer rows than
    requested, even none, and still a `last`.
    """
    scope = build_scope(endpoints.c.id, page_request)
    if tenant_id is not None:
        scope.append(endpoints.c.tenant_id == tenant_id)
    if not (states or unhealthy or search_text):
        query = select(endpoints).where(*scope, endpoints.c.deleted_at.is_(None))
        rows = await tx.execute(query.order_by(endpoints.c.id.desc()).limit(page_request.limit + 1))
        return Page.from_rows([_endpoint_from_row(row) for row in rows], page_request)
    seen = select_first_rows(list(endpoints.c), scope, page_request)
    query = select(seen).where(seen.c.deleted_at.is_(None))
    if states:
        query = query.where(seen.c.state.in_(states))
    if unhealthy:
        health = endpoint_health.c
        broken = exists().where(health.endpoint_id == seen.c.id, health.breaker != BreakerState.CLOSED)
        query = query.where(or_(seen.c.state != EndpointState.ACTIVE, broken))
    if search_text:
        said = (seen.c.url, seen.c.description)
        query = query.where(or_(*[one.icontains(search_text, autoescape=True) for one in said]))
    rows = await tx.execute(query.order_by(seen.c.id.desc()).limit(page_request.limit + 1))
    return await build_page(
        tx, [_endpoint_from_row(row) for row in rows], page_request, id_=endpoints.c.id, scope=scope
    )


async def read_urls(tx: Transaction, endpoint_ids: Iterable[EndpointId]) -> dict[EndpointId, str]:
    """The URLs of these endpoints, deleted ones too."""
    wanted = list(set(endpoint_ids))
    if not wanted:
        return {}
    query = select(endpoints.c.id, endpoints.c.url).where(endpoints.c.id.in_(wanted))
    return {EndpointId(row.id): row.url for row in await tx.execute(query)}


@dataclass(frozen=True, slots=True)
class ExpiringCertificate:
    """An endpoint and the expiry of its client certificate."""

    id: EndpointId
    tenant_id: TenantId
    expires_at: datetime


async def find_expiring_certificates(
    tx: Transaction, *, before: datetime, limit: int
) -> list[ExpiringCertificate]:
    """Endpoints of any tenant whose client certificate expires before then, soonest first."""
    ends = cast(endpoints.c.client_certificate["not_after"].as_string(), DateTime(timezone=True))
    rows = await tx.execute(
        select(endpoints.c.id, endpoints.c.tenant_id, ends.label("at"))
        .where(endpoints.c.deleted_at.is_(None), ends < before)
        .order_by(ends)
        .limit(limit)
    )
    return [ExpiringCertificate(EndpointId(row.id), TenantId(row.tenant_id), row.at) for row in rows]


async def read_latest_urls(tx: Transaction, *, limit: int) -> list[str]:
    """The URLs of the newest active endpoints, of any tenant."""
    found = await tx.execute(
        select(endpoints.c.url)
        .where(endpoints.c.state == EndpointState.ACTIVE, endpoints.c.deleted_at.is_(None))
        .order_by(endpoints.c.id.desc())
        .limit(limit)
    )
    return list(found.scalars())


async def write(tx: Transaction, endpoint: Endpoint) -> None:
    """Update a locked endpoint."""
    await tx.execute(
        update(endpoints)
        .where(*_match_endpoint(endpoint.tenant_id, endpoint.id))
        .values(version=endpoint.version, **_mutable_columns(endpoint))
    )


async def delete(tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, at: datetime) -> bool:
    """Mark an endpoint as deleted; False when the tenant has no such endpoint."""
    deleted = await tx.execute(
        update(endpoints)
        .where(*_match_endpoint(tenant_id, endpoint_id))
        .values(deleted_at=at, updated_at=at, version=endpoints.c.version + 1)
        .returning(endpoints.c.id)
    )
    return deleted.one_or_none() is not None


async def disable(
    tx: Transaction, endpoint_id: EndpointId, *, url: str, reason: str, actor: str, at: datetime
) -> bool:
    """Disable an endpoint for its results at this URL; False if it was disabled, moved or deleted.

    The caller changes the tenant's version: tenants are locked after all endpoints.
    """
    values = {"id": endpoint_id, "url": url, "reason": reason, "actor": actor, "at": at}
    return (await tx.execute(_DISABLE, values)).rowcount > 0


def _match_endpoint(tenant_id: TenantId, endpoint_id: EndpointId) -> tuple[ColumnElement[bool], ...]:
    return (
        endpoints.c.tenant_id == tenant_id,
        endpoints.c.id == endpoint_id,
        endpoints.c.deleted_at.is_(None),
    )


def _mutable_columns(endpoint: Endpoint) -> dict[str, Any]:
    schedule, timeout = endpoint.schedule, endpoint.timeout
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": list(endpoint.filter),
        "channels": list(endpoint.channels) or None,
        "condition": endpoint.condition,
        "state": endpoint.state,
        "state_reason": endpoint.state_reason,
        "state_actor": endpoint.state_actor,
        "state_changed_at": endpoint.state_changed_at,
        "header_names": list(endpoint.header_names),
        "sealed_headers": endpoint.sealed_headers,
        "auth": _to_json(endpoint.auth),
        "sealed_auth": endpoint.sealed_auth,
        "client_certificate": _to_json(endpoint.client_certificate),
        "sealed_identity": endpoint.sealed_identity,
        "format": None if endpoint.format is PayloadFormat.STANDARD else endpoint.format,
        "payload": None if endpoint.payload is PayloadKind.FULL else endpoint.payload,
        "schedule_seconds": None if schedule is None else [delay.total_seconds() for delay in schedule],
        "timeout_seconds": None if timeout is None else timeout.total_seconds(),
        "updated_at": endpoint.updated_at,
        **_limit_columns(endpoint.limits),
    }


def _to_json(fields: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if fields is None else dict(fields)


def _limit_columns(limits: EndpointLimits) -> dict[str, Any]:
    rate, disable_after = limits.rate, limits.disable_after
    return {
        "in_flight_max": limits.in_flight,
        "rate_limit": None if rate is None else rate.limit,
        "rate_per_seconds": None if rate is None else rate.per.total_seconds(),
        "breaker": dict(limits.breaker) or None,
        "disable_after_seconds": None if disable_after is None else disable_after.total_seconds(),
        "permanent_statuses": list(limits.permanent),
    }


def rate_from_row(row: Row[*tuple[Any, ...]]) -> RateLimit | None:
    """The rate limit from a row of `endpoints`; None: it has none."""
    if row.rate_limit is None:
        return None
    return RateLimit(row.rate_limit, timedelta(seconds=row.rate_per_seconds))


def limits_from_row(row: Row[*tuple[Any, ...]]) -> EndpointLimits:
    """The limits from a row of `endpoints`."""
    disable_after = row.disable_after_seconds
    return EndpointLimits(
        in_flight=row.in_flight_max,
        rate=rate_from_row(row),
        breaker=row.breaker or {},
        disable_after=None if disable_after is None else timedelta(seconds=disable_after),
        permanent=tuple(row.permanent_statuses),
    )


def _endpoint_from_row(row: Row[*tuple[Any, ...]]) -> Endpoint:
    schedule, timeout = row.schedule_seconds, row.timeout_seconds
    return Endpoint(
        id=EndpointId(row.id),
        tenant_id=TenantId(row.tenant_id),
        url=row.url,
        description=row.description,
        filter=tuple(row.filter),
        state=EndpointState(row.state),
        state_reason=row.state_reason,
        state_actor=row.state_actor,
        state_changed_at=row.state_changed_at,
        header_names=tuple(row.header_names),
        sealed_headers=row.sealed_headers,
        signature=Signature(row.signature),
        schedule=None if schedule is None else tuple(timedelta(seconds=value) for value in schedule),
        timeout=None if timeout is None else timedelta(seconds=timeout),
        operational=row.operational,
        limits=limits_from_row(row),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        auth=row.auth,
        sealed_auth=row.sealed_auth,
        client_certificate=row.client_certificate,
        sealed_identity=row.sealed_identity,
        format=PayloadFormat(row.format or PayloadFormat.STANDARD),
        payload=PayloadKind(row.payload or PayloadKind.FULL),
        channels=tuple(row.channels or ()),
        condition=row.condition,
    )
