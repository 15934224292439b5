"""All encrypted values of all tenants, read and replaced step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, text

from delivery.domain.secret_box import KEY_MARK_BYTES
from delivery.ledger.db.tables import endpoint_secrets, endpoints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import Column, Table, TextClause

    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column with encrypted values, and the column of their endpoint."""

    table: Table
    sealed: Column[Any]
    endpoint_id: Column[Any]

    @property
    def update_statement(self) -> TextClause:
        """Build the statement that replaces values unchanged since they were read."""
        table, column = self.table.name, self.sealed.name
        return text(f"""
            update {table} as one set {column} = given.after
            from unnest(cast(:ids as uuid[]), cast(:befores as bytea[]), cast(:afters as bytea[]))
                as given (id, before, after)
            where one.id = given.id and one.{column} = given.before
        """)  # noqa: S608  names of our own tables


SECRETS: Final = SealedColumn(endpoint_secrets, endpoint_secrets.c.sealed, endpoint_secrets.c.endpoint_id)
HEADERS: Final = SealedColumn(endpoints, endpoints.c.sealed_headers, endpoints.c.id)
AUTH: Final = SealedColumn(endpoints, endpoints.c.sealed_auth, endpoints.c.id)
IDENTITY: Final = SealedColumn(endpoints, endpoints.c.sealed_identity, endpoints.c.id)


@dataclass(frozen=True, slots=True, repr=False)
class SealedValue:
    """One encrypted value and its endpoint."""

    id: UUID
    tenant_id: UUID
    endpoint_id: UUID
    sealed: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SealedValueChange:
    """A value to replace, if it is unchanged since it was read."""

    id: UUID
    before: bytes
    after: bytes


async def read_after(tx: Transaction, column: SealedColumn, after: UUID, *, limit: int) -> list[SealedValue]:
    """The values after this id, in order; of deleted endpoints too."""
    table = column.table.c
    rows = await tx.execute(
        select(table.id, table.tenant_id, column.endpoint_id.label("endpoint"), column.sealed.label("sealed"))
        .where(table.id > after, column.sealed.is_not(None))
        .order_by(table.id)
        .limit(limit)
    )
    return [SealedValue(row.id, row.tenant_id, row.endpoint, row.sealed) for row in rows]


async def replace_values(tx: Transaction, column: SealedColumn, changes: Sequence[SealedValueChange]) -> int:
    """Replace the values that are unchanged; returns how many."""
    values = {
        "ids": [one.id for one in changes],
        "befores": [one.before for one in changes],
        "afters": [one.after for one in changes],
    }
    return (await tx.execute(column.update_statement, values)).rowcount


async def count_marks(tx: Transaction, column: SealedColumn) -> dict[bytes, int]:
    """Count the values by their prefix."""
    mark = func.substring(column.sealed, 1, KEY_MARK_BYTES).label("mark")
    rows = await tx.execute(select(mark, func.count()).where(column.sealed.is_not(None)).group_by(mark))
    return {row[0]: row[1] for row in rows}
