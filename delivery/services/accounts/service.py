"""The use cases of console accounts, together with those of sessions and portal links."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from delivery.domain import tokens
from delivery.domain.accounts import Role, User
from delivery.domain.errors import Conflict, NotFound
from delivery.domain.ids import Prefix, UserId, format_id, new_id
from delivery.domain.validation import check_reason
from delivery.ledger.records import sessions, users
from delivery.services.accounts.email_addresses import check_display_name, check_email
from delivery.services.accounts.passwords import check_password
from delivery.services.accounts.portal_links import PortalLinkService
from delivery.services.accounts.sessions import describe_user
from delivery.services.accounts.sign_in import SignInService

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.records.users import UserRow


class UserChanges(TypedDict, total=False):
    """The fields to change; fields that are missing stay as they are."""

    name: str
    role: Role
    disabled: bool


class AccountService(SignInService, PortalLinkService):
    """Accounts, sign-in, sessions and portal links."""

    async def create(self, email: str, name: str, role: Role, password: str | None, *, actor: Actor) -> User:
        """Create an account; one without a password cannot sign in with one.

        Raises Invalid, and Conflict if the address has an account already.
        """
        user = User(
            id=UserId(new_id()),
            email=check_email(email),
            name=check_display_name(name),
            role=role,
            has_password=password is not None,
            created_at=self._clock(),
        )
        password_hash = None
        if password is not None:
            password_hash = await self._passwords.hash(check_password(password, email=user.email))
        async with self._ledger.transaction() as tx:
            if not await users.insert(tx, user, password_hash=password_hash):
                raise Conflict(f"There is an account of {user.email} already.")
            await self._append_entry(tx, "person.created", actor, {**describe_user(user), "role": user.role})
        return user

    async def change(
        self, user_id: UserId, changes: UserChanges, *, reason: str | None = None, actor: Actor
    ) -> User:
        """Change an account. Open sessions change at once; those of a disabled user end.

        Raises NotFound, Invalid, and Conflict if no active admin would be left.
        """
        reason = check_reason(reason)
        async with self._ledger.transaction() as tx:
            # Locked first, so that concurrent changes of admins take turns.
            admins = await users.lock_active_admins(tx)
            before = await _read_locked(tx, user_id)
            after = _apply_changes(before, changes, now=self._clock())
            if after == before:
                return before
            if admins == {user_id} and not _can_administer(after):
                raise Conflict("This is the last admin who can sign in. Make another one first.")
            await users.write(tx, after)
            if after.disabled_at is not None:
                await sessions.end_all(tx, user_id)
            action, details = _describe_change(before, after)
            await self._append_entry(tx, action, actor, {**describe_user(after), **details}, reason=reason)
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
        """Set a user's password and end the user's sessions, except that of `keep_session_token`.

        Raises NotFound, Invalid.
        """
        reason = check_reason(reason)
        user = await self.read(user_id)
        password_hash = await self._passwords.hash(check_password(password, email=user.email))
        except_token = None if keep_session_token is None else tokens.hash_token(keep_session_token)
        async with self._ledger.transaction() as tx:
            await _read_locked(tx, user_id)
            await users.set_password(tx, user_id, password_hash)
            await sessions.end_all(tx, user_id, except_token=except_token)
            await self._append_entry(tx, "person.password_set", actor, describe_user(user), reason=reason)

    async def read(self, user_id: UserId) -> User:
        """Read an account; raises NotFound."""
        async with self._ledger.transaction() as tx:
            row = await users.read(tx, user_id)
        return _require_user(row, format_id(Prefix.USER, user_id))

    async def find(self, email: str) -> User:
        """Find the account of this e-mail address; raises NotFound."""
        return _require_user(await self._find_account(email), email)

    async def list_users(self, page_request: PageRequest) -> Page[User]:
        """List accounts, newest first, disabled ones too."""
        async with self._ledger.transaction() as tx:
            return await users.read_page(tx, page_request)

    async def has_users(self) -> bool:
        """Whether there is any account."""
        async with self._ledger.transaction() as tx:
            return await users.has_users(tx)


async def _read_locked(tx: Transaction, user_id: UserId) -> User:
    return _require_user(await users.read(tx, user_id, lock=True), format_id(Prefix.USER, user_id))


def _require_user(row: UserRow | None, public_id: str) -> User:
    if row is None:
        raise NotFound("account", public_id)
    return row.user


def _apply_changes(user: User, changes: UserChanges, *, now: datetime) -> User:
    if "name" in changes:
        user = replace(user, name=check_display_name(changes["name"]))
    if "role" in changes:
        user = replace(user, role=changes["role"])
    if "disabled" in changes and changes["disabled"] != (user.disabled_at is not None):
        user = replace(user, disabled_at=now if changes["disabled"] else None)
    return user


def _can_administer(user: User) -> bool:
    return user.role is Role.ADMIN and user.disabled_at is None


def _describe_change(before: User, after: User) -> tuple[str, dict[str, object]]:
    """The journal's action and details for a change."""
    fields = [name for name in ("name", "role") if getattr(before, name) != getattr(after, name)]
    details: dict[str, object] = {"fields": fields}
    if before.role != after.role:
        details |= {"role": after.role, "before": before.role}
    if before.disabled_at == after.disabled_at:
        return "person.changed", details
    return ("person.enabled" if after.disabled_at is None else "person.disabled"), details
