"""Connections to PostgreSQL: one pool per event loop, short transactions, errors translated once."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg.errors import CheckViolation, UndefinedColumn, UndefinedTable
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from delivery.domain.database_url import normalise_database_url
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db import row_level_security
from delivery.ledger.db.fast_path import AutocommitPool, register_binary_lists

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from sqlalchemy import AsyncAdaptedQueuePool
    from sqlalchemy.ext.asyncio import AsyncEngine

    from delivery.ledger.db.fast_path import Connection

MIN_SERVER_VERSION = 150_000

NOT_MIGRATED_MESSAGE = "The ledger is not ready for this release: run `waybill db upgrade`."

# Transactions that make deliveries due notify this channel; the relay listens.
DUE_CHANNEL = "waybill_due"

Transaction = AsyncConnection

# Connections per process for single statements, each of a few milliseconds.
_AUTOCOMMIT_POOL_SIZE = 2

_CONNECTION_ERRORS = (psycopg.InterfaceError, psycopg.OperationalError)

# Every hot statement joins a handful of keys to indexed tables. Without statistics (a partition made this
# morning) the planner may prefer to hash whole tables; these connections tell it not to.
_PLANNER_OPTIONS = "-c enable_hashjoin=off -c enable_mergejoin=off -c enable_seqscan=off -c jit=off"
_TIMEOUT_OPTIONS = (
    "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
)


def parse_host(url: str) -> str | None:
    """The host in a database URL, if it has one."""
    return make_url(normalise_database_url(url)).host


class Ledger:
    """One event loop's connections to the ledger: for transactions, and for single statements."""

    def __init__(self, url: str, *, pool_size: int = 8, application_name: str = "waybill") -> None:
        """Connect on first use; two connections beyond `pool_size` are for single statements."""
        self.url = normalise_database_url(url)
        options = {
            "application_name": application_name,
            "connect_timeout": 5,
            "options": f"{_PLANNER_OPTIONS} {_TIMEOUT_OPTIONS}",
            "prepare_threshold": 3,
        }
        self._engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=False,
            hide_parameters=True,  # a logged error must not contain the values
            pool_recycle=1800,
            connect_args=options,
        )
        event.listen(self._engine.sync_engine, "connect", _configure_connection)
        self._autocommit_pool = AutocommitPool(
            self.url, max_connections=_AUTOCOMMIT_POOL_SIZE, options=options
        )
        self._tenant_role: str | None = None

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        """Run a transaction, committed if the block succeeds; raises Unavailable without an answer.

        With a tenant, PostgreSQL shows and accepts only that tenant's rows, whatever a query forgets. Without
        one, all rows: for the engine itself, and for the operator.
        """
        role = None if tenant_id is None else await self._load_tenant_role()
        with _translate_errors():
            async with self._engine.begin() as connection:
                if tenant_id is not None and role is not None:
                    await row_level_security.set_tenant(connection, role, tenant_id)
                yield connection

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """Lend an autocommit connection; raises as `transaction` does."""
        with _translate_errors():
            async with self._autocommit_pool.acquire() as connection:
                yield connection

    async def check_server(self) -> None:
        """Raise Unavailable unless the database answers, Misconfigured if it is too old."""
        async with self.transaction() as tx:
            version = int((await tx.execute(text("show server_version_num"))).scalar_one())
        if version < MIN_SERVER_VERSION:
            raise Misconfigured(f"PostgreSQL {version // 10_000} is too old; 15 or newer is needed.")

    async def check_row_level_security(self) -> None:
        """Raise Misconfigured unless row-level security can hold, Unavailable if the schema is older."""
        async with self.transaction() as tx:
            self._tenant_role = await row_level_security.find_tenant_role(tx)

    @property
    def pool_usage(self) -> tuple[int, int]:
        """The pool's connections in use and idle, without those for single statements."""
        pool = cast("AsyncAdaptedQueuePool", self._engine.pool)
        return pool.checkedout(), pool.checkedin()

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self._autocommit_pool.close()
        await self._engine.dispose()

    async def _load_tenant_role(self) -> str:
        """The tenants' role, looked up once: it is named after the tables' owner."""
        if self._tenant_role is None:
            try:
                await self.check_row_level_security()
            except Misconfigured as error:  # noticed too late for a process that runs
                raise Unavailable(str(error)) from error
        return self._tenant_role or ""


def _configure_connection(connection: Any, _record: object) -> None:
    register_binary_lists(connection.driver_connection)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate errors of the driver and of SQLAlchemy into ours."""
    try:
        yield
    except (InterfaceError, OperationalError, PoolTimeout, *_CONNECTION_ERRORS) as error:
        raise Unavailable(f"The ledger does not answer: {_first_line(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable(f"The ledger does not answer: {_first_line(error)}") from error
        if _is_not_migrated(error.orig):
            raise Unavailable(f"{NOT_MIGRATED_MESSAGE} ({_first_line(error)})") from error
        raise
    except psycopg.Error as error:
        if _is_not_migrated(error):
            raise Unavailable(f"{NOT_MIGRATED_MESSAGE} ({_first_line(error)})") from error
        raise


def _is_not_migrated(cause: BaseException | None) -> bool:
    """Whether tables, columns or today's partitions are missing."""
    match cause:
        case UndefinedTable() | UndefinedColumn():
            return True
        case CheckViolation():
            # A violated check constraint is named in the error; a missing partition is not.
            return cause.diag.constraint_name is None
        case _:
            return False


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().split("\n", 1)[0]
