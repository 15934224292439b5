"""Sessions: opened once somebody has proved who they are, read with every request, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from delivery.domain.accounts import Actor
from delivery.domain.errors import NotAuthenticated
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records import journal, sessions, users
from delivery.ledger.records.journal import NO_TENANT, JournalEntry
from delivery.ledger.records.sessions import Session
from delivery.services.accounts import tokens
from delivery.services.accounts.email_addresses import parse_email_or_none
from delivery.services.accounts.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from delivery.domain.accounts import User
    from delivery.domain.ids import TenantId, UserId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.records.users import UserRow
    from delivery.services.accounts.passwords import PasswordService

log = structlog.get_logger()


class SessionService:
    """Who is there, and since when until when. Nothing is remembered: what changes, changes at once."""

    def __init__(
        self,
        ledger: Ledger,
        passwords: PasswordService,
        *,
        session_lifetime: timedelta,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """A session of a person `lasts` so long, however busy they are."""
        self._ledger = ledger
        self._passwords = passwords
        self._session_lifetime = session_lifetime
        self._clock = clock
        self._random_bytes = random_bytes

    async def open_session(self, user_id: UserId, *, address: str | None) -> tuple[str, Principal]:
        """Let somebody in whose proof of identity a door has seen; the token is told here alone.

        Raises NotAuthenticated for whoever may not sign in.
        """
        async with self._ledger.transaction() as tx:
            account = await users.read(tx, user_id, lock=True)
            if account is None or account.user.disabled_at is not None:
                raise NotAuthenticated
            now = self._clock()
            session = Session(now, now + self._session_lifetime, user=account.user)
            return await self._insert_session(tx, session, "person.signed_in", address)

    async def load_principal(self, token: str, *, address: str | None = None) -> Principal:
        """Whose session this is, as they are now; `address` is that of this request.

        Raises NotAuthenticated for one that never was or has ended, whose person was disabled, or whose link
        was made by a key that is revoked.
        """
        if not tokens.is_well_formed_token(token, tokens.SESSION_PREFIX):
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            session = await sessions.find(tx, tokens.hash_token(token), now=self._clock())
        if session is None:
            raise NotAuthenticated
        return _build_principal(session, address)

    async def sign_out(self, token: str) -> None:
        """End a session. One that has ended already is no error."""
        async with self._ledger.transaction() as tx:
            await sessions.end(tx, tokens.hash_token(token))

    async def _find_account(self, email: str) -> UserRow | None:
        known = parse_email_or_none(email)
        if known is None:
            return None
        async with self._ledger.transaction() as tx:
            return await users.find(tx, known)

    async def _insert_session(
        self, tx: Transaction, session: Session, action: str, address: str | None
    ) -> tuple[str, Principal]:
        token = tokens.generate_token(tokens.SESSION_PREFIX, self._random_bytes)
        visitor = _build_principal(session, address)
        await sessions.insert(tx, session, token_sha256=tokens.hash_token(token), address=address)
        await self._append_entry(
            tx, action, visitor.actor, _describe_session(session), tenant_id=visitor.tenant_id
        )
        return token, visitor

    async def _append_entry(
        self,
        tx: Transaction,
        action: str,
        actor: Actor,
        details: Mapping[str, object],
        *,
        tenant_id: TenantId | None = None,
        reason: str | None = None,
    ) -> None:
        entry = JournalEntry(
            tenant_id=NO_TENANT if tenant_id is None else tenant_id,
            action=action,
            actor=actor.name,
            at=self._clock(),
            reason=reason,
            details=details,
            address=actor.address,
        )
        await journal.append(tx, [entry])
        named = {name: value for name, value in details.items() if name.endswith("_id")}
        log.info(action, actor=actor.name, **named)


def describe_user(user: User) -> dict[str, str]:
    """A person as the audit's details name them."""
    return {"person_id": format_id(Prefix.USER, user.id), "name": user.full_name}


def _build_principal(session: Session, address: str | None) -> Principal:
    if session.user is not None:
        person = session.user
        return Principal(
            Actor(person.full_name, address), person.name, person.role, None, session.expires_at, person.id
        )
    if session.link is None:
        raise AssertionError("a session is a person's or a link's")
    link = session.link
    name = link.label or "Portal"
    return Principal(Actor(link.full_name, address), name, link.role, link.tenant_id, session.expires_at)


def _describe_session(session: Session) -> dict[str, str]:
    if session.user is not None:
        return describe_user(session.user)
    return {} if session.link is None else {"link_id": format_id(Prefix.LINK, session.link.id)}
