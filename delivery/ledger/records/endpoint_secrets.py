"""The encrypted signing secrets of endpoints: the newest has no end, older ones sign until theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, update
from sqlalchemy import insert as insert_into

from delivery.domain.endpoint import SealedSecret, Signature
from delivery.domain.ids import EndpointId, SecretId, TenantId
from delivery.ledger.db.tables import endpoint_secrets as secrets

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.db.session import Transaction


async def insert(tx: Transaction, secret: SealedSecret) -> None:
    """Write a new secret."""
    await tx.execute(
        insert_into(secrets).values(
            id=secret.id,
            endpoint_id=secret.endpoint_id,
            tenant_id=secret.tenant_id,
            signature=secret.signature,
            sealed=secret.sealed,
            key_id=secret.key_id,
            public_key=secret.public_key,
            created_at=secret.created_at,
            not_after=secret.not_after,
        )
    )


async def read_active(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, now: datetime
) -> list[SealedSecret]:
    """The secrets that sign now, newest first."""
    rows = await tx.execute(
        select(secrets)
        .where(
            secrets.c.tenant_id == tenant_id,
            secrets.c.endpoint_id == endpoint_id,
            or_(secrets.c.not_after.is_(None), secrets.c.not_after > now),
        )
        .order_by(secrets.c.id.desc())
    )
    return [_secret_from_row(row) for row in rows]


async def expire(tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, until: datetime) -> None:
    """End the endpoint's secrets at this time; an earlier end stays."""
    await tx.execute(
        update(secrets)
        .where(secrets.c.tenant_id == tenant_id, secrets.c.endpoint_id == endpoint_id)
        .where(or_(secrets.c.not_after.is_(None), secrets.c.not_after > until))
        .values(not_after=func.least(secrets.c.not_after, until))
    )


def _secret_from_row(row: Row[*tuple[Any, ...]]) -> SealedSecret:
    return SealedSecret(
        id=SecretId(row.id),
        endpoint_id=EndpointId(row.endpoint_id),
        tenant_id=TenantId(row.tenant_id),
        signature=Signature(row.signature),
        sealed=row.sealed,
        key_id=row.key_id,
        public_key=row.public_key,
        created_at=row.created_at,
        not_after=row.not_after,
    )
