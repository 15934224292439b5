"""Sessions: opened after authentication, read with every request, ended by sign-out or expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain import tokens
from delivery.domain.accounts import Actor
from delivery.domain.errors import NotAuthenticated
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records import journal, sessions, users
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.records.sessions import Session
from delivery.log import get_logger
from delivery.services.accounts.email_addresses import parse_email_or_none
from delivery.services.accounts.roles import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from delivery.domain.accounts import User
    from delivery.domain.ids import TenantId, UserId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.records.users import UserRow
    from delivery.services.accounts.passwords import PasswordService

log = get_logger()


class SessionService:
    """Opens, reads and ends sessions. Nothing is cached, so every change takes effect at once."""

    def __init__(
        self,
        ledger: Ledger,
        passwords: PasswordService,
        *,
        session_lifetime: timedelta,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`session_lifetime` counts from sign-in; activity does not extend it."""
        self._ledger = ledger
        self._passwords = passwords
        self._session_lifetime = session_lifetime
        self._clock = clock
        self._random_bytes = random_bytes

    async def open_session(self, user_id: UserId, *, address: str | None) -> tuple[str, Principal]:
        """Open a session for a user whom the caller has authenticated; returns its token.

        Raises NotAuthenticated for an unknown or disabled account.
        """
        async with self._ledger.transaction() as tx:
            account = await users.read(tx, user_id, lock=True)
            if account is None or account.user.disabled_at is not None:
                raise NotAuthenticated
            now = self._clock()
            session = Session(now, now + self._session_lifetime, user=account.user)
            return await self._insert_session(tx, session, "person.signed_in", address)

    async def load_principal(self, token: str, *, address: str | None = None) -> Principal:
        """Load the principal of a session as it is now; `address` is the client's.

        Raises NotAuthenticated for an unknown or ended session, a disabled user, and a portal link whose key
        was revoked.
        """
        if not tokens.is_well_formed_token(token, tokens.SESSION_PREFIX):
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            session = await sessions.find(tx, tokens.hash_token(token), now=self._clock())
        if session is None:
            raise NotAuthenticated
        return _build_principal(session, address)

    async def sign_out(self, token: str) -> None:
        """End a session; one that has ended already is no error."""
        async with self._ledger.transaction() as tx:
            await sessions.end(tx, tokens.hash_token(token))

    async def _find_account(self, email: str) -> UserRow | None:
        normalized = parse_email_or_none(email)
        if normalized is None:
            return None
        async with self._ledger.transaction() as tx:
            return await users.find(tx, normalized)

    async def _insert_session(
        self, tx: Transaction, session: Session, action: str, address: str | None
    ) -> tuple[str, Principal]:
        token = tokens.generate_token(tokens.SESSION_PREFIX, self._random_bytes)
        principal = _build_principal(session, address)
        await sessions.insert(tx, session, token_sha256=tokens.hash_token(token), address=address)
        await self._append_entry(
            tx, action, principal.actor, _describe_session(session), tenant_id=principal.tenant_id
        )
        return token, principal

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
        entry = JournalEntry.by_actor(
            tenant_id, action, actor, at=self._clock(), reason=reason, details=details
        )
        await journal.append(tx, [entry])
        ids = {name: value for name, value in details.items() if name.endswith("_id")}
        log.info(action, actor=actor.name, **ids)


def describe_user(user: User) -> dict[str, str]:
    """A user in the details of a journal entry."""
    return {"person_id": format_id(Prefix.USER, user.id), "name": user.full_name}


def _build_principal(session: Session, address: str | None) -> Principal:
    if session.user is not None:
        user = session.user
        return Principal(
            Actor(user.full_name, address), user.name, user.role, None, session.expires_at, user.id
        )
    if session.link is None:
        raise AssertionError("a session belongs to a user or to a portal link")
    link = session.link
    name = link.label or "Portal"
    return Principal(Actor(link.full_name, address), name, link.role, link.tenant_id, session.expires_at)


def _describe_session(session: Session) -> dict[str, str]:
    if session.user is not None:
        return describe_user(session.user)
    return {} if session.link is None else {"link_id": format_id(Prefix.LINK, session.link.id)}
