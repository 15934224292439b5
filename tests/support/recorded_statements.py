"""Records the statements that the engine sends to PostgreSQL in a transaction, by either executor."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from delivery.ledger.db.session import Transaction

    Hear = Callable[[str, Any], None]


@asynccontextmanager
async def record_statements(tx: Transaction, on_statement: Hear) -> AsyncIterator[None]:
    """Tell of every statement that is sent within the block, with its values."""
    connection: psycopg.AsyncConnection[Any] = (await tx.get_raw_connection()).driver_connection  # type: ignore[assignment]

    class Telling(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            on_statement(query.decode() if isinstance(query, bytes) else query, params)
            return await super().execute(query, params, **options)

    before, connection.cursor_factory = connection.cursor_factory, Telling
    try:
        yield
    finally:
        connection.cursor_factory = before
