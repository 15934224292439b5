"""People: accounts of the console. Of a password only its hash is ever here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as insert_into

from delivery.accounts import Person, Role
from delivery.ledger.tables import people
from delivery.model import PersonId
from delivery.paging import Page

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, RowMapping

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut


@dataclass(frozen=True, slots=True)
class Account:
    """A person, and the hash of their password; None: they have none."""

    person: Person
    password_hash: str | None


async def insert(tx: Transaction, person: Person, *, password_hash: str | None) -> bool:
    """Write a new account; False when its address has one already."""
    made = await tx.execute(
        insert_into(people)
        .values(
            id=person.id,
            email=person.email,
            name=person.name,
            role=person.role,
            password_hash=password_hash,
            created_at=person.created_at,
            disabled_at=person.disabled_at,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(people.c.id)
    )
    return made.one_or_none() is not None


async def read(tx: Transaction, person_id: PersonId, *, lock: bool = False) -> Account | None:
    """One account; locked against other changes of it."""
    return await _one(tx, people.c.id == person_id, lock=lock)


async def find(tx: Transaction, email: str) -> Account | None:
    """The account of this address, which is in lower case."""
    return await _one(tx, people.c.email == email, lock=False)


async def anyone(tx: Transaction) -> bool:
    """Whether there is any account at all."""
    return (await tx.execute(select(people.c.id).limit(1))).one_or_none() is not None


async def page(tx: Transaction, cut: Cut) -> Page[Person]:
    """People, newest first."""
    rows = await tx.execute(
        select(people).where(people.c.id < cut.before).order_by(people.c.id.desc()).limit(cut.limit + 1)
    )
    return Page.of([person_of(row) for row in rows.mappings()], cut)


async def active_admins(tx: Transaction) -> set[PersonId]:
    """Admins who can sign in, all of them locked: whoever wants to make them fewer takes their turn."""
    rows = await tx.execute(
        select(people.c.id)
        .where(people.c.role == Role.ADMIN, people.c.disabled_at.is_(None))
        .order_by(people.c.id)
        .with_for_update(key_share=True)
    )
    return {PersonId(row.id) for row in rows}


async def write(tx: Transaction, person: Person) -> None:
    """Write what may change of a person."""
    changed = {"name": person.name, "role": person.role, "disabled_at": person.disabled_at}
    await tx.execute(update(people).where(people.c.id == person.id).values(**changed))


async def set_password(tx: Transaction, person_id: PersonId, password_hash: str) -> None:
    """Write the hash of a new password."""
    await tx.execute(update(people).where(people.c.id == person_id).values(password_hash=password_hash))


def person_of(row: RowMapping) -> Person:
    """A person from a row that has the columns of `people`."""
    return Person(
        id=PersonId(row[people.c.id]),
        email=row[people.c.email],
        name=row[people.c.name],
        role=Role(row[people.c.role]),
        has_password=row[people.c.password_hash] is not None,
        created_at=row[people.c.created_at],
        disabled_at=row[people.c.disabled_at],
    )


async def _one(tx: Transaction, which: ColumnElement[bool], *, lock: bool) -> Account | None:
    query = select(people).where(which)
    found = await tx.execute(query.with_for_update(key_share=True) if lock else query)
    row = found.mappings().one_or_none()
    return None if row is None else Account(person_of(row), row[people.c.password_hash])
