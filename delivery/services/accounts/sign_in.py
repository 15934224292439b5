"""Signing in with a password, and giving oneself another one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from delivery.domain.errors import Invalid, NotAuthenticated, TooManyTries
from delivery.ledger.records import login_failures, sessions, users
from delivery.ledger.records.sessions import Session
from delivery.services.accounts import login_throttle, tokens
from delivery.services.accounts.email_addresses import normalize_email
from delivery.services.accounts.passwords import check_password
from delivery.services.accounts.sessions import SessionService, describe_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.ledger.db.session import Transaction
    from delivery.ledger.records.users import UserRow
    from delivery.services.accounts.login_throttle import ThrottleSubject
    from delivery.services.accounts.passwords import PasswordCheck
    from delivery.services.accounts.principal import Principal

log = structlog.get_logger()


class SignInService(SessionService):
    """Sessions for whoever knows a password. Wrong ones make the next try wait."""

    async def sign_in(self, email: str, password: str, *, address: str | None) -> tuple[str, Principal]:
        """Open a session; its token is told here alone.

        Raises TooManyTries, which says how long to wait, and NotAuthenticated: whether it is the password
        that is wrong, or there is no such account, or it is disabled, is not told, nor can it be timed.
        """
        subjects = login_throttle.build_subjects(normalize_email(email), address)
        await self._count_failure(subjects)
        account = await self._find_account(email)
        verdict = await self._check_account_password(account, password)
        if account is None or not verdict.is_correct:
            log.info("sign_in.refused", address=address)
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            await self._confirm_success(tx, account, verdict, subjects)
            now = self._clock()
            session = Session(now, now + self._session_lifetime, user=account.user)
            return await self._insert_session(tx, session, "person.signed_in", address)

    async def change_own_password(self, token: str, current: str, new: str, *, address: str | None) -> None:
        """Give oneself another password; every other session of theirs ends.

        Raises NotAuthenticated without a person's session, TooManyTries, and Invalid, which names `current`
        or `password`.
        """
        visitor = await self.load_principal(token, address=address)
        if visitor.user_id is None:
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            account = await users.read(tx, visitor.user_id)
        if account is None:
            raise NotAuthenticated
        check_password(new, email=account.user.email)
        subjects = login_throttle.build_subjects(account.user.email, address)
        await self._count_failure(subjects)
        verdict = await self._check_account_password(account, current)
        if not verdict.is_correct:
            raise Invalid("current", "is not your password")
        renewed = await self._passwords.hash(new)
        async with self._ledger.transaction() as tx:
            await self._confirm_success(tx, account, verdict, subjects)
            await users.set_password(tx, account.user.id, renewed)
            await sessions.end_all(tx, account.user.id, except_token=tokens.hash_token(token))
            await self._append_entry(tx, "person.password_set", visitor.actor, describe_user(account.user))

    async def _count_failure(self, subjects: Sequence[ThrottleSubject]) -> None:
        """Count a try as a failure until it is known to be none; raises TooManyTries, and counts nothing."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            held = await login_failures.lock_counts(tx, [one.key for one in subjects], now=now)
            waits = [
                login_throttle.compute_wait(one.kind, held[one.key].failures, held[one.key].last_at, now=now)
                for one in subjects
            ]
            if max(waits) > timedelta(0):
                raise TooManyTries(max(waits))
            counted = {
                key: login_throttle.count_current_failures(one.failures, one.last_at, now=now) + 1
                for key, one in held.items()
            }
            await login_failures.write(tx, counted, now=now)

    async def _check_account_password(self, account: UserRow | None, password: str) -> PasswordCheck:
        """Whether a password is right; of whoever may not sign in none is, and it takes as long."""
        may = account is not None and account.user.disabled_at is None
        return await self._passwords.check(account.password_hash if account and may else None, password)

    async def _confirm_success(
        self, tx: Transaction, account: UserRow, check: PasswordCheck, subjects: Sequence[ThrottleSubject]
    ) -> None:
        """Take the try back from what is counted, unless the account has changed while it was looked at."""
        person_id = account.user.id
        found = await users.read(tx, person_id, lock=True)
        if found is None or found.password_hash != account.password_hash or found.user.disabled_at:
            raise NotAuthenticated
        await login_failures.clear_failures(tx, [one.key for one in subjects], reset_subject=subjects[0].key)
        if check.new_hash is not None:
            await users.set_password(tx, person_id, check.new_hash)
