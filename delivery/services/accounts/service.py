"""People: the use cases of the console's accounts, with those of sessions and links."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from delivery.domain.accounts import Role, User
from delivery.domain.errors import Conflict, NotFound
from delivery.domain.ids import Prefix, UserId, format_id, new_id
from delivery.domain.validation import check_reason
from delivery.ledger.records import sessions, users
from delivery.services.accounts import tokens
from delivery.services.accounts.email_addresses import check_email, check_name
from delivery.services.accounts.passwords import check_password
from delivery.services.accounts.portal_links import PortalLinkService
from delivery.services.accounts.sessions import describe_user
from delivery.services.accounts.sign_in import SignInService

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Transaction


class UserChanges(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    name: str
    role: Role
    disabled: bool


class AccountService(SignInService, PortalLinkService):
    """Accounts, sign-in, sessions and portal links."""

    async def create(self, email: str, name: str, role: Role, password: str | None, *, actor: Actor) -> User:
        """Make an account; without a password, another door has to prove who it is.

        Raises Invalid, and Conflict if the address has an account.
        """
        person = User(
            id=UserId(new_id()),
            email=check_email(email),
            name=check_name(name),
            role=role,
            has_password=password is not None,
            created_at=self._clock(),
        )
        kept = None
        if password is not None:
            kept = await self._passwords.hash(check_password(password, email=person.email))
        async with self._ledger.transaction() as tx:
            if not await users.insert(tx, person, password_hash=kept):
                raise Conflict(f"There is an account of {person.email} already.")
            await self._append_entry(
                tx, "person.created", actor, {**describe_user(person), "role": person.role}
            )
        return person

    async def change(
        self, user_id: UserId, changes: UserChanges, *, reason: str | None = None, actor: Actor
    ) -> User:
        """Change what is named, in open sessions at once; those of whoever is disabled end.

        Raises NotFound, Invalid, and Conflict if no admin would be left who can sign in.
        """
        reason = check_reason(reason)
        async with self._ledger.transaction() as tx:
            admins = await users.lock_active_admins(tx)  # first, so that two who change admins take turns
            before = await _read_locked(tx, user_id)
            after = _apply_changes(before, changes, now=self._clock())
            if after == before:
                return before
            if admins == {user_id} and not _can_administer(after):
                raise Conflict("This is the last admin who can sign in. Make another one first.")
            await users.write(tx, after)
            if after.disabled_at is not None:
                await sessions.end_all(tx, user_id)
            what, told = _describe_change(before, after)
            await self._append_entry(tx, what, actor, {**describe_user(after), **told}, reason=reason)
        return after

    async def set_password(
        self,
        user_id: UserId,
        password: str,
        *,
        keep_session_token: str | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> None:
        """Give somebody a new password; every session of theirs ends, but the one with the token `keep`.

        Raises NotFound, Invalid.
        """
        reason = check_reason(reason)
        person = await self.read(user_id)
        kept = await self._passwords.hash(check_password(password, email=person.email))
        but = None if keep_session_token is None else tokens.hash_token(keep_session_token)
        async with self._ledger.transaction() as tx:
            await _read_locked(tx, user_id)
            await users.set_password(tx, user_id, kept)
            await sessions.end_all(tx, user_id, except_token=but)
            await self._append_entry(tx, "person.password_set", actor, describe_user(person), reason=reason)

    async def read(self, user_id: UserId) -> User:
        """One person; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await users.read(tx, user_id)
        if found is None:
            raise _account_not_found(format_id(Prefix.USER, user_id))
        return found.user

    async def find(self, email: str) -> User:
        """The person of this address; raises NotFound."""
        found = await self._find_account(email)
        if found is None:
            raise _account_not_found(email)
        return found.user

    async def list_users(self, page_request: PageRequest) -> Page[User]:
        """People, newest first, disabled ones too."""
        async with self._ledger.transaction() as tx:
            return await users.read_page(tx, page_request)

    async def has_users(self) -> bool:
        """Whether there is any account at all."""
        async with self._ledger.transaction() as tx:
            return await users.has_users(tx)


async def _read_locked(tx: Transaction, user_id: UserId) -> User:
    found = await users.read(tx, user_id, lock=True)
    if found is None:
        raise _account_not_found(format_id(Prefix.USER, user_id))
    return found.user


def _apply_changes(user: User, changes: UserChanges, *, now: datetime) -> User:
    if "name" in changes:
        user = replace(user, name=check_name(changes["name"]))
    if "role" in changes:
        user = replace(user, role=changes["role"])
    if "disabled" in changes and changes["disabled"] != (user.disabled_at is not None):
        user = replace(user, disabled_at=now if changes["disabled"] else None)
    return user


def _can_administer(user: User) -> bool:
    return user.role is Role.ADMIN and user.disabled_at is None


def _describe_change(before: User, after: User) -> tuple[str, dict[str, object]]:
    """What the audit calls a change, and what it tells of it."""
    fields = [name for name in ("name", "role") if getattr(before, name) != getattr(after, name)]
    told: dict[str, object] = {"fields": fields}
    if before.role != after.role:
        told |= {"role": after.role, "before": before.role}
    if before.disabled_at == after.disabled_at:
        return "person.changed", told
    return ("person.enabled" if after.disabled_at is None else "person.disabled"), told


def _account_not_found(shown: str) -> NotFound:
    return NotFound("account", shown)
