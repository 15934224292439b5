"""API keys. Only their hashes are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy import insert as insert_into

from delivery.domain.api_key import ApiKey
from delivery.domain.ids import KeyId, TenantId
from delivery.domain.pagination import Page
from delivery.domain.scopes import Scope, sort_scopes
from delivery.ledger.db.tables import api_keys

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_COLUMNS: Final = tuple(column for column in api_keys.c if column.name != "key_sha256")


@dataclass(frozen=True, slots=True)
class ExpiringKey:
    """A key with an expiry, and the expiry."""

    id: KeyId
    expires_at: datetime


async def insert(tx: Transaction, key: ApiKey, *, key_sha256: bytes) -> None:
    """Write a new key."""
    await tx.execute(
        insert_into(api_keys).values(
            id=key.id,
            tenant_id=key.tenant_id,
            name=key.name,
            hint=key.hint,
            key_sha256=key_sha256,
            scopes=[str(scope) for scope in sort_scopes(key.scopes)],
            requests_per_second=key.requests_per_second,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )
    )


async def find(tx: Transaction, key_sha256: bytes, *, now: datetime) -> ApiKey | None:
    """The key with this hash, unless it was revoked or has expired."""
    found = await tx.execute(
        select(*_COLUMNS).where(
            api_keys.c.key_sha256 == key_sha256,
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
        )
    )
    row = found.one_or_none()
    return None if row is None else _key_from_row(row)


async def read(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, lock: bool = False) -> ApiKey | None:
    """One key of a tenant, ended ones too; locked against other changes of it."""
    query = select(*_COLUMNS).where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _key_from_row(row)


async def read_page(tx: Transaction, tenant_id: TenantId, page_request: PageRequest) -> Page[ApiKey]:
    """A tenant's keys, ended ones too, newest first."""
    rows = await tx.execute(
        select(*_COLUMNS)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id < page_request.before)
        .order_by(api_keys.c.id.desc())
        .limit(page_request.limit + 1)
    )
    return Page.from_rows([_key_from_row(row) for row in rows], page_request)


async def revoke(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, at: datetime) -> bytes | None:
    """Revoke a key and return its hash; the first revocation counts. None: the tenant has no such key."""
    revoked = await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, at))
        .returning(api_keys.c.key_sha256)
    )
    key_sha256: bytes | None = revoked.scalar_one_or_none()
    return key_sha256


async def replace(tx: Transaction, key: ApiKey, *, successor_id: KeyId, expires_at: datetime) -> bytes:
    """Name the key's successor and its expiry; returns its hash."""
    replaced = await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == key.tenant_id, api_keys.c.id == key.id)
        .values(replaced_by=successor_id, expires_at=expires_at)
        .returning(api_keys.c.key_sha256)
    )
    key_sha256: bytes = replaced.scalar_one()
    return key_sha256


async def find_expiring(
    tx: Transaction, *, after: datetime, before: datetime, limit: int
) -> list[ExpiringKey]:
    """Keys of any tenant that expire in this range and have no successor, soonest first."""
    rows = await tx.execute(
        select(api_keys.c.id, api_keys.c.expires_at)
        .where(
            api_keys.c.expires_at > after,
            api_keys.c.expires_at < before,
            api_keys.c.revoked_at.is_(None),
            api_keys.c.replaced_by.is_(None),
        )
        .order_by(api_keys.c.expires_at)
        .limit(limit)
    )
    return [ExpiringKey(KeyId(row.id), row.expires_at) for row in rows]


async def record_use(tx: Transaction, tenant_id: TenantId, key_id: KeyId, *, at: datetime) -> None:
    """Write when a key was last used; never an earlier time."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id)
        .where(or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at))
        .values(last_used_at=at)
    )


def _key_from_row(row: Row[*tuple[Any, ...]]) -> ApiKey:
    return ApiKey(
        id=KeyId(row.id),
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        hint=row.hint,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        scopes=frozenset(map(Scope, row.scopes)),
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        requests_per_second=row.requests_per_second,
        replaced_by=None if row.replaced_by is None else KeyId(row.replaced_by),
    )
