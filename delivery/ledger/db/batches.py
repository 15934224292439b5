"""Deletes expired rows in batches, each a short statement that skips rows locked by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import TextClause

    from delivery.ledger.db.session import Transaction

BATCH_SIZE: Final = 1_000


def build_delete(table: str, key: str, *, expired: str, order: str) -> TextClause:
    """Build the statement that deletes the first `:most` expired rows.

    Materialized: as a plain subquery, the planner may evaluate it once per row, and delete more than a batch.
    """
    return text(f"""
        with old as materialized (
            select {key} from {table} where {expired} order by {order} limit :most for update skip locked
        )
        delete from {table} where ({key}) in (select {key} from old)
    """)  # noqa: S608  names of our own tables


async def delete_before(tx: Transaction, statement: TextClause, before: datetime) -> bool:
    """Delete a batch of rows that expired before this time; True if there may be more."""
    result = await tx.execute(statement, {"before": before, "most": BATCH_SIZE})
    return result.rowcount == BATCH_SIZE
