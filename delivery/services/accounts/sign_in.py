"""Signing in with a password, and giving oneself another one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from delivery.errors import Invalid, NotAuthenticated, TooManyTries
from delivery.ledger import people, sessions, sign_in_failures
from delivery.ledger.sessions import Session
from delivery.people import throttle, tokens
from delivery.people.addresses import plain_email
from delivery.people.passwords import check_password
from delivery.people.sessions import Sessions, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.ledger import Transaction
    from delivery.ledger.people import Account
    from delivery.people.passwords import Verdict
    from delivery.people.throttle import Subject
    from delivery.people.visitors import Visitor

log = structlog.get_logger()


class SignIns(Sessions):
    """Sessions for whoever knows a password. Wrong ones make the next try wait."""

    async def sign_in(self, email: str, password: str, *, address: str | None) -> tuple[str, Visitor]:
        """Open a session; its token is told here alone.

        Raises TooManyTries, which says how long to wait, and NotAuthenticated: whether it is the password
        that is wrong, or there is no such account, or it is disabled, is not told, nor can it be timed.
        """
        subjects = throttle.subjects_of(plain_email(email), address)
        await self._count(subjects)
        account = await self._account(email)
        verdict = await self._verdict(account, password)
        if account is None or not verdict.right:
            log.info("sign_in.refused", address=address)
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            await self._accept(tx, account, verdict, subjects)
            now = self._clock()
            session = Session(now, now + self._lasts, person=account.person)
            return await self._open(tx, session, "person.signed_in", address)

    async def renew_password(self, token: str, current: str, new: str, *, address: str | None) -> None:
        """Give oneself another password; every other session of theirs ends.

        Raises NotAuthenticated without a person's session, TooManyTries, and Invalid, which names `current`
        or `password`.
        """
        visitor = await self.visitor(token, address=address)
        if visitor.person_id is None:
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            account = await people.read(tx, visitor.person_id)
        if account is None:
            raise NotAuthenticated
        check_password(new, email=account.person.email)
        subjects = throttle.subjects_of(account.person.email, address)
        await self._count(subjects)
        verdict = await self._verdict(account, current)
        if not verdict.right:
            raise Invalid("current", "is not your password")
        renewed = await self._passwords.hash(new)
        async with self._ledger.transaction() as tx:
            await self._accept(tx, account, verdict, subjects)
            await people.set_password(tx, account.person.id, renewed)
            await sessions.end_of(tx, account.person.id, but=tokens.sha256_of(token))
            await self._note(tx, "person.password_set", visitor.actor, named(account.person))

    async def _count(self, subjects: Sequence[Subject]) -> None:
        """Count a try as a failure until it is known to be none; raises TooManyTries, and counts nothing."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            held = await sign_in_failures.hold(tx, [one.key for one in subjects], now=now)
            waits = [
                throttle.wait(one.kind, held[one.key].failures, held[one.key].last_at, now=now)
                for one in subjects
            ]
            if max(waits) > timedelta(0):
                raise TooManyTries(max(waits))
            counted = {
                key: throttle.failures_now(one.failures, one.last_at, now=now) + 1
                for key, one in held.items()
            }
            await sign_in_failures.write(tx, counted, now=now)

    async def _verdict(self, account: Account | None, password: str) -> Verdict:
        """Whether a password is right; of whoever may not sign in none is, and it takes as long."""
        may = account is not None and account.person.disabled_at is None
        return await self._passwords.check(account.password_hash if account and may else None, password)

    async def _accept(
        self, tx: Transaction, account: Account, verdict: Verdict, subjects: Sequence[Subject]
    ) -> None:
        """Take the try back from what is counted, unless the account has changed while it was looked at."""
        person_id = account.person.id
        found = await people.read(tx, person_id, lock=True)
        if found is None or found.password_hash != account.password_hash or found.person.disabled_at:
            raise NotAuthenticated
        await sign_in_failures.take_back(tx, [one.key for one in subjects], reset=subjects[0].key)
        if verdict.renewed is not None:
            await people.set_password(tx, person_id, verdict.renewed)
