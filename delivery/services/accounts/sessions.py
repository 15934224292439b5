"""Sessions: opened once somebody has proved who they are, read with every request, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from delivery.errors import NotAuthenticated
from delivery.ledger import journal, people, sessions
from delivery.ledger.journal import NOBODYS, Entry
from delivery.ledger.sessions import Session
from delivery.model import Actor, Prefix, show_id
from delivery.people import tokens
from delivery.people.addresses import known_form
from delivery.people.visitors import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from delivery.accounts import Person
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.people import Account
    from delivery.model import PersonId, TenantId
    from delivery.people.passwords import Passwords

log = structlog.get_logger()


class Sessions:
    """Who is there, and since when until when. Nothing is remembered: what changes, changes at once."""

    def __init__(
        self,
        ledger: Ledger,
        passwords: Passwords,
        *,
        lasts: timedelta,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """A session of a person `lasts` so long, however busy they are."""
        self._ledger = ledger
        self._passwords = passwords
        self._lasts = lasts
        self._clock = clock
        self._random_bytes = random_bytes

    async def open_session(self, person_id: PersonId, *, address: str | None) -> tuple[str, Visitor]:
        """Let somebody in whose proof of identity a door has seen; the token is told here alone.

        Raises NotAuthenticated for whoever may not sign in.
        """
        async with self._ledger.transaction() as tx:
            account = await people.read(tx, person_id, lock=True)
            if account is None or account.person.disabled_at is not None:
                raise NotAuthenticated
            now = self._clock()
            session = Session(now, now + self._lasts, person=account.person)
            return await self._open(tx, session, "person.signed_in", address)

    async def visitor(self, token: str, *, address: str | None = None) -> Visitor:
        """Whose session this is, as they are now; `address` is that of this request.

        Raises NotAuthenticated for one that never was or has ended, whose person was disabled, or whose link
        was made by a key that is revoked.
        """
        if not tokens.is_token(token, tokens.SESSION):
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            session = await sessions.find(tx, tokens.sha256_of(token), now=self._clock())
        if session is None:
            raise NotAuthenticated
        return _visitor(session, address)

    async def sign_out(self, token: str) -> None:
        """End a session. One that has ended already is no error."""
        async with self._ledger.transaction() as tx:
            await sessions.end(tx, tokens.sha256_of(token))

    async def _account(self, email: str) -> Account | None:
        known = known_form(email)
        if known is None:
            return None
        async with self._ledger.transaction() as tx:
            return await people.find(tx, known)

    async def _open(
        self, tx: Transaction, session: Session, what: str, address: str | None
    ) -> tuple[str, Visitor]:
        token = tokens.new_token(tokens.SESSION, self._random_bytes)
        visitor = _visitor(session, address)
        await sessions.insert(tx, session, token_sha256=tokens.sha256_of(token), address=address)
        await self._note(tx, what, visitor.actor, _subject(session), whose=visitor.tenant_id)
        return token, visitor

    async def _note(
        self,
        tx: Transaction,
        what: str,
        actor: Actor,
        details: Mapping[str, object],
        *,
        whose: TenantId | None = None,
        reason: str | None = None,
    ) -> None:
        entry = Entry(
            tenant_id=NOBODYS if whose is None else whose,
            what=what,
            actor=actor.name,
            at=self._clock(),
            reason=reason,
            details=details,
            address=actor.address,
        )
        await journal.append(tx, [entry])
        named = {name: value for name, value in details.items() if name.endswith("_id")}
        log.info(what, actor=actor.name, **named)


def named(person: Person) -> dict[str, str]:
    """A person as the audit's details name them."""
    return {"person_id": show_id(Prefix.PERSON, person.id), "name": person.full_name}


def _visitor(session: Session, address: str | None) -> Visitor:
    if session.person is not None:
        person = session.person
        return Visitor(
            Actor(person.full_name, address), person.name, person.role, None, session.expires_at, person.id
        )
    if session.link is None:
        raise AssertionError("a session is a person's or a link's")
    link = session.link
    name = link.label or "Portal"
    return Visitor(Actor(link.full_name, address), name, link.role, link.tenant_id, session.expires_at)


def _subject(session: Session) -> dict[str, str]:
    if session.person is not None:
        return named(session.person)
    return {} if session.link is None else {"link_id": show_id(Prefix.LINK, session.link.id)}
