"""API keys. Only a hash of a key is ever here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update
from sqlalchemy import insert as insert_into

from delivery.ledger.tables import api_keys
from delivery.model import ApiKey, KeyId, TenantId
from delivery.paging import Page

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut

_COLUMNS = tuple(column for column in api_keys.c if column.name != "key_sha256")


async def insert(tx: Transaction, key: ApiKey, *, key_sha256: bytes) -> None:
    """Write a new key."""
    await tx.execute(
        insert_into(api_keys).values(
            id=key.id,
            tenant_id=key.tenant_id,
            name=key.name,
            hint=key.hint,
            key_sha256=key_sha256,
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )
    )


async def find(tx: Transaction, key_sha256: bytes) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    found = await tx.execute(
        select(*_COLUMNS).where(api_keys.c.key_sha256 == key_sha256, api_keys.c.revoked_at.is_(None))
    )
    row = found.one_or_none()
    return None if row is None else _key(row)


async def page(tx: Transaction, tenant_id: TenantId, cut: Cut) -> Page[ApiKey]:
    """A tenant's keys, revoked ones too, newest first."""
    rows = await tx.execute(
        select(*_COLUMNS)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id < cut.before)
        .order_by(api_keys.c.id.desc())
        .limit(cut.limit + 1)
    )
    return Page.of([_key(row) for row in rows], cut)


async def revoke(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, at: datetime) -> bytes | None:
    """End a key and return its hash; the first end stands. None when the tenant has no such key."""
    revoked = await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, at))
        .returning(api_keys.c.key_sha256)
    )
    key_sha256: bytes | None = revoked.scalar_one_or_none()
    return key_sha256


def _key(row: Row[*tuple[Any, ...]]) -> ApiKey:
    return ApiKey(
        id=KeyId(row.id),
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        hint=row.hint,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
