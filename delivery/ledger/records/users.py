"""Users: accounts of the console. Only hashes of passwords are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as insert_into

from delivery.domain.accounts import Role, User
from delivery.domain.ids import UserId
from delivery.domain.pagination import Page
from delivery.ledger.db.tables import people

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, RowMapping

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user and the hash of their password; None: they have none."""

    user: User
    password_hash: str | None


async def insert(tx: Transaction, user: User, *, password_hash: str | None) -> bool:
    """Insert an account; False if its e-mail address has one already."""
    made = await tx.execute(
        insert_into(people)
        .values(
            id=user.id,
            email=user.email,
            name=user.name,
            role=user.role,
            password_hash=password_hash,
            created_at=user.created_at,
            disabled_at=user.disabled_at,
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(people.c.id)
    )
    return made.one_or_none() is not None


async def read(tx: Transaction, user_id: UserId, *, lock: bool = False) -> UserRow | None:
    """One account, optionally locked against other changes."""
    return await _read_one(tx, people.c.id == user_id, lock=lock)


async def find(tx: Transaction, email: str) -> UserRow | None:
    """The account with this e-mail address, which is in lower case."""
    return await _read_one(tx, people.c.email == email, lock=False)


async def has_users(tx: Transaction) -> bool:
    """Whether any account exists."""
    return (await tx.execute(select(people.c.id).limit(1))).one_or_none() is not None


async def read_page(tx: Transaction, page_request: PageRequest) -> Page[User]:
    """Users, newest first."""
    rows = await tx.execute(
        select(people)
        .where(people.c.id < page_request.before)
        .order_by(people.c.id.desc())
        .limit(page_request.limit + 1)
    )
    return Page.from_rows([user_from_row(row) for row in rows.mappings()], page_request)


async def lock_active_admins(tx: Transaction) -> set[UserId]:
    """Lock and read the admins who can sign in: transactions that would remove one take turns."""
    rows = await tx.execute(
        select(people.c.id)
        .where(people.c.role == Role.ADMIN, people.c.disabled_at.is_(None))
        .order_by(people.c.id)
        .with_for_update(key_share=True)
    )
    return {UserId(row.id) for row in rows}


async def write(tx: Transaction, user: User) -> None:
    """Update a user."""
    changed = {"name": user.name, "role": user.role, "disabled_at": user.disabled_at}
    await tx.execute(update(people).where(people.c.id == user.id).values(**changed))


async def set_password(tx: Transaction, user_id: UserId, password_hash: str) -> None:
    """Write the hash of a new password."""
    await tx.execute(update(people).where(people.c.id == user_id).values(password_hash=password_hash))


def user_from_row(row: RowMapping) -> User:
    """Build a user from a row with the columns of `people`."""
    return User(
        id=UserId(row[people.c.id]),
        email=row[people.c.email],
        name=row[people.c.name],
        role=Role(row[people.c.role]),
        has_password=row[people.c.password_hash] is not None,
        created_at=row[people.c.created_at],
        disabled_at=row[people.c.disabled_at],
    )


async def _read_one(tx: Transaction, condition: ColumnElement[bool], *, lock: bool) -> UserRow | None:
    query = select(people).where(condition)
    found = await tx.execute(query.with_for_update(key_share=True) if lock else query)
    row = found.mappings().one_or_none()
    return None if row is None else UserRow(user_from_row(row), row[people.c.password_hash])
