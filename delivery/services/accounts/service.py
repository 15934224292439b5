"""People: the use cases of the console's accounts, with those of sessions and links."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from delivery.accounts import Person, Role
from delivery.checks import checked_reason
from delivery.errors import Conflict, NotFound
from delivery.ledger import people, sessions
from delivery.model import PersonId, Prefix, new_id, show_id
from delivery.people import tokens
from delivery.people.addresses import check_email, check_name
from delivery.people.links import Links
from delivery.people.passwords import check_password
from delivery.people.sessions import named
from delivery.people.sign_in import SignIns

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.ledger import Transaction
    from delivery.model import Actor
    from delivery.paging import Cut, Page


class PersonChanges(TypedDict, total=False):
    """What is to become different; what is not named stays."""

    name: str
    role: Role
    disabled: bool


class People(SignIns, Links):
    """Accounts, sign-in, sessions and portal links."""

    async def create(
        self, email: str, name: str, role: Role, password: str | None, *, actor: Actor
    ) -> Person:
        """Make an account; without a password, another door has to prove who it is.

        Raises Invalid, and Conflict if the address has an account.
        """
        person = Person(
            id=PersonId(new_id()),
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
            if not await people.insert(tx, person, password_hash=kept):
                raise Conflict(f"There is an account of {person.email} already.")
            await self._note(tx, "person.created", actor, {**named(person), "role": person.role})
        return person

    async def change(
        self, person_id: PersonId, changes: PersonChanges, *, reason: str | None = None, actor: Actor
    ) -> Person:
        """Change what is named, in open sessions at once; those of whoever is disabled end.

        Raises NotFound, Invalid, and Conflict if no admin would be left who can sign in.
        """
        reason = checked_reason(reason)
        async with self._ledger.transaction() as tx:
            admins = await people.active_admins(tx)  # first, so that two who change admins take turns
            before = await _read(tx, person_id)
            after = _changed(before, changes, now=self._clock())
            if after == before:
                return before
            if admins == {person_id} and not _can_administer(after):
                raise Conflict("This is the last admin who can sign in. Make another one first.")
            await people.write(tx, after)
            if after.disabled_at is not None:
                await sessions.end_of(tx, person_id)
            what, told = _said(before, after)
            await self._note(tx, what, actor, {**named(after), **told}, reason=reason)
        return after

    async def set_password(
        self,
        person_id: PersonId,
        password: str,
        *,
        keep: str | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> None:
        """Give somebody a new password; every session of theirs ends, but the one with the token `keep`.

        Raises NotFound, Invalid.
        """
        reason = checked_reason(reason)
        person = await self.read(person_id)
        kept = await self._passwords.hash(check_password(password, email=person.email))
        but = None if keep is None else tokens.sha256_of(keep)
        async with self._ledger.transaction() as tx:
            await _read(tx, person_id)
            await people.set_password(tx, person_id, kept)
            await sessions.end_of(tx, person_id, but=but)
            await self._note(tx, "person.password_set", actor, named(person), reason=reason)

    async def read(self, person_id: PersonId) -> Person:
        """One person; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await people.read(tx, person_id)
        if found is None:
            raise _nobody(show_id(Prefix.PERSON, person_id))
        return found.person

    async def find(self, email: str) -> Person:
        """The person of this address; raises NotFound."""
        found = await self._account(email)
        if found is None:
            raise _nobody(email)
        return found.person

    async def page(self, cut: Cut) -> Page[Person]:
        """People, newest first, disabled ones too."""
        async with self._ledger.transaction() as tx:
            return await people.page(tx, cut)

    async def anyone(self) -> bool:
        """Whether there is any account at all."""
        async with self._ledger.transaction() as tx:
            return await people.anyone(tx)


async def _read(tx: Transaction, person_id: PersonId) -> Person:
    found = await people.read(tx, person_id, lock=True)
    if found is None:
        raise _nobody(show_id(Prefix.PERSON, person_id))
    return found.person


def _changed(person: Person, changes: PersonChanges, *, now: datetime) -> Person:
    if "name" in changes:
        person = replace(person, name=check_name(changes["name"]))
    if "role" in changes:
        person = replace(person, role=changes["role"])
    if "disabled" in changes and changes["disabled"] != (person.disabled_at is not None):
        person = replace(person, disabled_at=now if changes["disabled"] else None)
    return person


def _can_administer(person: Person) -> bool:
    return person.role is Role.ADMIN and person.disabled_at is None


def _said(before: Person, after: Person) -> tuple[str, dict[str, object]]:
    """What the audit calls a change, and what it tells of it."""
    fields = [name for name in ("name", "role") if getattr(before, name) != getattr(after, name)]
    told: dict[str, object] = {"fields": fields}
    if before.role != after.role:
        told |= {"role": after.role, "before": before.role}
    if before.disabled_at == after.disabled_at:
        return "person.changed", told
    return ("person.enabled" if after.disabled_at is None else "person.disabled"), told


def _nobody(shown: str) -> NotFound:
    return NotFound("account", shown)
