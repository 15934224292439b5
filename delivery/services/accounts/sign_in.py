"""Signing in with a password, and changing one's own password."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.domain import tokens
from delivery.domain.errors import Invalid, NotAuthenticated, TooManyTries
from delivery.ledger.records import login_failures, sessions, users
from delivery.ledger.records.sessions import Session
from delivery.log import get_logger
from delivery.services.accounts import login_throttle
from delivery.services.accounts.email_addresses import normalize_email
from delivery.services.accounts.passwords import check_password
from delivery.services.accounts.sessions import SessionService, describe_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.ledger.db.session import Transaction
    from delivery.ledger.records.users import UserRow
    from delivery.services.accounts.login_throttle import ThrottleSubject
    from delivery.services.accounts.passwords import PasswordCheck
    from delivery.services.accounts.roles import Principal

log = get_logger()


class SignInService(SessionService):
    """Opens sessions by password. Wrong passwords make the next try wait."""

    async def sign_in(self, email: str, password: str, *, address: str | None) -> tuple[str, Principal]:
        """Open a session; returns its token, which is returned only here.

        Raises TooManyTries with the time to wait, and NotAuthenticated. A wrong password, an unknown account
        and a disabled one cannot be told apart, not even by the time the answer takes.
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
        """Change the password of this session's user and end the user's other sessions.

        Raises NotAuthenticated without a user's session, TooManyTries, and Invalid for `current` or
        `password`.
        """
        principal = await self.load_principal(token, address=address)
        if principal.user_id is None:
            raise NotAuthenticated
        async with self._ledger.transaction() as tx:
            account = await users.read(tx, principal.user_id)
        if account is None:
            raise NotAuthenticated
        check_password(new, email=account.user.email)
        subjects = login_throttle.build_subjects(account.user.email, address)
        await self._count_failure(subjects)
        verdict = await self._check_account_password(account, current)
        if not verdict.is_correct:
            raise Invalid("current", "is not your password")
        new_hash = await self._passwords.hash(new)
        async with self._ledger.transaction() as tx:
            await self._confirm_success(tx, account, verdict, subjects)
            await users.set_password(tx, account.user.id, new_hash)
            await sessions.end_all(tx, account.user.id, except_token=tokens.hash_token(token))
            await self._append_entry(tx, "person.password_set", principal.actor, describe_user(account.user))

    async def _count_failure(self, subjects: Sequence[ThrottleSubject]) -> None:
        """Count a try as a failure before it is checked; raises TooManyTries, and counts nothing then."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            counts = await login_failures.lock_counts(tx, [subject.key for subject in subjects], now=now)
            wait = max(
                login_throttle.compute_wait(
                    subject.kind, counts[subject.key].failures, counts[subject.key].last_at, now=now
                )
                for subject in subjects
            )
            if wait > timedelta(0):
                raise TooManyTries(wait)
            new_counts = {
                key: login_throttle.count_current_failures(count.failures, count.last_at, now=now) + 1
                for key, count in counts.items()
            }
            await login_failures.write(tx, new_counts, now=now)

    async def _check_account_password(self, account: UserRow | None, password: str) -> PasswordCheck:
        """Verify a password; for a missing or disabled account it fails after the same time."""
        active = account is not None and account.user.disabled_at is None
        return await self._passwords.check(account.password_hash if account and active else None, password)

    async def _confirm_success(
        self, tx: Transaction, account: UserRow, check: PasswordCheck, subjects: Sequence[ThrottleSubject]
    ) -> None:
        """Take the counted failure back; raises NotAuthenticated if the account has changed meanwhile."""
        user_id = account.user.id
        current = await users.read(tx, user_id, lock=True)
        if current is None or current.password_hash != account.password_hash or current.user.disabled_at:
            raise NotAuthenticated
        keys = [subject.key for subject in subjects]
        await login_failures.clear_failures(tx, keys, reset_subject=subjects[0].key)
        if check.new_hash is not None:
            await users.set_password(tx, user_id, check.new_hash)
