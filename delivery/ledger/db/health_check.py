"""What the doctor reads about the database itself. Tables need not exist yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.ledger.db.partitions import DAYS_AHEAD
from delivery.ledger.db.row_level_security import ROW_POLICIES
from delivery.ledger.db.tables import PARTITIONED_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.ledger.db.session import Transaction

_SERVER = text("""
    select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
           pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool as read_only,
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               as places,
           (select coalesce(sum(numbackends), 0)::int from pg_stat_database) as taken,
           to_regclass('alembic_version') is not null as migrated,
           coalesce(has_table_privilege(to_regclass('alembic_version'), 'select'), true) as readable
""")
_REVISION = text("select version_num from alembic_version")
_NOW = text("select clock_timestamp()")
_MISSING_TABLES = text("""
    select name from unnest(cast(:names as text[])) as wanted (name) where to_regclass(name) is null
""")
_UNPROTECTED_TABLES = text("""
    select name from unnest(cast(:names as text[])) as wanted (name)
    join pg_class t on t.oid = to_regclass(name) where not t.relrowsecurity order by name
""")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The database server. `places` are the connections it takes, `taken` those that are open now.

    `readable`: our account may read the tables.
    """

    version_number: int
    version: str
    read_only: bool
    max_connections: int
    open_connections: int
    readable: bool
    revision: str | None


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """How far the server's clock is ahead of ours, plus or minus `doubt`."""

    ahead: timedelta
    uncertainty: timedelta


async def read_server_info(tx: Transaction) -> ServerInfo:
    """Describe the server and its newest migration; None: no migration."""
    row = (await tx.execute(_SERVER)).one()
    known = row.migrated and row.readable
    revision = (await tx.execute(_REVISION)).scalar_one_or_none() if known else None
    return ServerInfo(row.number, row.version, row.read_only, row.places, row.taken, row.readable, revision)


async def measure_clock_skew(tx: Transaction, *, clock: Callable[[], datetime]) -> ClockSkew:
    """Compare the server's clock with ours, as precisely as one round trip allows."""
    before = clock()
    theirs: datetime = (await tx.execute(_NOW)).scalar_one()
    half = (clock() - before) / 2
    return ClockSkew(theirs - before - half, half)


async def count_days_ahead(tx: Transaction, *, now: datetime) -> int:
    """Count the days after today for which every history table has a partition; -1: today has none."""
    days = {n: f"{now.astimezone(UTC) + timedelta(days=n):%Y%m%d}" for n in range(DAYS_AHEAD + 1)}
    names = [f"{table}_{day}" for table in PARTITIONED_TABLES for day in days.values()]
    missing = (await tx.execute(_MISSING_TABLES, {"names": names})).scalars().all()
    gaps = [n for n, day in days.items() if any(name.endswith(day) for name in missing)]
    return min(gaps, default=DAYS_AHEAD + 1) - 1


async def find_unprotected_tables(tx: Transaction) -> list[str]:
    """The tables that should have row-level security and do not."""
    return list((await tx.execute(_UNPROTECTED_TABLES, {"names": list(ROW_POLICIES)})).scalars())
