"""Sessions and portal links. Only hashes of tokens are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select
from sqlalchemy import insert as insert_into

from delivery.domain.accounts import PortalLink, Role
from delivery.domain.ids import KeyId, LinkId, TenantId
from delivery.ledger.db.batches import build_delete, delete_before
from delivery.ledger.db.tables import api_keys, people, portal_links, sessions
from delivery.ledger.records.users import user_from_row

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, RowMapping

    from delivery.domain.accounts import User
    from delivery.domain.ids import UserId
    from delivery.ledger.db.session import Transaction

# A link's sessions are deleted with it.
_DELETE_EXPIRED = (
    build_delete("sessions", "token_sha256", expired="expires_at < :before", order="expires_at"),
    build_delete("portal_links", "id", expired="expires_at < :before", order="expires_at"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """An open session, of a user or of a portal link, never of both."""

    created_at: datetime
    expires_at: datetime
    user: User | None = None
    link: PortalLink | None = None


async def insert(tx: Transaction, session: Session, *, token_sha256: bytes, address: str | None) -> None:
    """Insert a session."""
    await tx.execute(
        insert_into(sessions).values(
            token_sha256=token_sha256,
            person_id=None if session.user is None else session.user.id,
            link_id=None if session.link is None else session.link.id,
            address=address,
            created_at=session.created_at,
            expires_at=session.expires_at,
        )
    )


async def find(tx: Transaction, token_sha256: bytes, *, now: datetime) -> Session | None:
    """The open session of this token, with its user or link as they are now.

    None: no session, it has ended, its user is disabled, or its link's key has ended.
    """
    whole = sessions.outerjoin(people).outerjoin(portal_links).outerjoin(api_keys)
    found = await tx.execute(
        select(sessions.c.created_at, sessions.c.expires_at, people, portal_links)
        .select_from(whole)
        .where(sessions.c.token_sha256 == token_sha256, sessions.c.expires_at > now)
        .where(people.c.disabled_at.is_(None), *_key_is_valid(now))
    )
    row = found.mappings().one_or_none()
    if row is None:
        return None
    return Session(
        created_at=row[sessions.c.created_at],
        expires_at=row[sessions.c.expires_at],
        user=None if row[people.c.id] is None else user_from_row(row),
        link=None if row[portal_links.c.id] is None else _link_from_row(row),
    )


async def end(tx: Transaction, token_sha256: bytes) -> None:
    """Delete one session, if it is open."""
    await tx.execute(delete(sessions).where(sessions.c.token_sha256 == token_sha256))


async def end_all(tx: Transaction, user_id: UserId, *, except_token: bytes | None = None) -> int:
    """Delete every session of a user except the one of this token; returns how many."""
    theirs = delete(sessions).where(sessions.c.person_id == user_id)
    return (
        await tx.execute(
            theirs if except_token is None else theirs.where(sessions.c.token_sha256 != except_token)
        )
    ).rowcount


async def insert_link(tx: Transaction, link: PortalLink, *, token_sha256: bytes) -> None:
    """Insert a link."""
    await tx.execute(
        insert_into(portal_links).values(
            id=link.id,
            tenant_id=link.tenant_id,
            key_id=link.key_id,
            role=link.role,
            label=link.label,
            made_by=link.made_by,
            token_sha256=token_sha256,
            created_at=link.created_at,
            expires_at=link.expires_at,
        )
    )


async def find_link(tx: Transaction, token_sha256: bytes, *, now: datetime) -> PortalLink | None:
    """The link of this token, unless it or the key that created it has ended."""
    found = await tx.execute(
        select(portal_links)
        .select_from(portal_links.outerjoin(api_keys))
        .where(portal_links.c.token_sha256 == token_sha256, portal_links.c.expires_at > now)
        .where(*_key_is_valid(now))
    )
    row = found.mappings().one_or_none()
    return None if row is None else _link_from_row(row)


async def delete_expired(tx: Transaction, *, before: datetime) -> bool:
    """Delete up to 1,000 sessions and 1,000 links that ended before then; True if there may be more."""
    return any([await delete_before(tx, statement, before) for statement in _DELETE_EXPIRED])


def _key_is_valid(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Whether the link's key is valid; True if no key created it."""
    expires_at = api_keys.c.expires_at
    return api_keys.c.revoked_at.is_(None), or_(expires_at.is_(None), expires_at > now)


def _link_from_row(row: RowMapping) -> PortalLink:
    key_id = row[portal_links.c.key_id]
    return PortalLink(
        id=LinkId(row[portal_links.c.id]),
        tenant_id=TenantId(row[portal_links.c.tenant_id]),
        key_id=None if key_id is None else KeyId(key_id),
        role=Role(row[portal_links.c.role]),
        label=row[portal_links.c.label],
        made_by=row[portal_links.c.made_by],
        created_at=row[portal_links.c.created_at],
        expires_at=row[portal_links.c.expires_at],
    )
