"""Loads what a worker needs to deliver to an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.ledger.records.endpoints import limits_from_row

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from delivery.domain.endpoint import EndpointLimits
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction

_ENDPOINTS = text("""
    select id, tenant_id, version, url, sealed_headers, sealed_auth, sealed_identity, schedule_seconds,
           timeout_seconds, operational, format, payload,
           in_flight_max, rate_limit, rate_per_seconds, breaker, disable_after_seconds, permanent_statuses
    from endpoints where id = any (cast(:ids as uuid[]))
""")
_SECRETS = text("""
    select endpoint_id, sealed, not_after from endpoint_secrets
    where endpoint_id = any (cast(:ids as uuid[])) and (not_after is null or not_after > clock_timestamp())
    order by not_after desc nulls first, id desc
""")


@dataclass(frozen=True, slots=True)
class SealedDestination:
    """An endpoint as a worker loads it, still encrypted. Secrets are newest first, each with its end.

    `format` and `payload` are as stored: a newer release may have written values that this one does not know.
    """

    endpoint_id: EndpointId
    tenant_id: TenantId
    version: int
    url: str
    sealed_headers: bytes | None
    sealed_auth: bytes | None
    sealed_identity: bytes | None
    secrets: tuple[tuple[bytes, datetime | None], ...]
    schedule_seconds: tuple[float, ...] | None
    timeout_seconds: float | None
    operational: bool
    format: str | None
    payload: str | None
    limits: EndpointLimits


async def load_destinations(tx: Transaction, endpoint_ids: Iterable[EndpointId]) -> list[SealedDestination]:
    """The destinations of these endpoints, deleted ones too: deliveries claimed before are still sent."""
    ids = list(endpoint_ids)
    secrets: dict[EndpointId, list[tuple[bytes, datetime | None]]] = {}
    rows = (await tx.execute(_ENDPOINTS, {"ids": ids})).all()
    for row in await tx.execute(_SECRETS, {"ids": ids}):
        secrets.setdefault(row.endpoint_id, []).append((row.sealed, row.not_after))
    return [
        SealedDestination(
            endpoint_id=row.id,
            tenant_id=row.tenant_id,
            version=row.version,
            url=row.url,
            sealed_headers=row.sealed_headers,
            sealed_auth=row.sealed_auth,
            sealed_identity=row.sealed_identity,
            secrets=tuple(secrets.get(row.id, [])),
            schedule_seconds=None if row.schedule_seconds is None else tuple(row.schedule_seconds),
            timeout_seconds=row.timeout_seconds,
            operational=row.operational,
            format=row.format,
            payload=row.payload,
            limits=limits_from_row(row),
        )
        for row in rows
    ]
