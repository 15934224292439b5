"""How migrations run: one at a time over all processes, and never waiting long behind live traffic."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from delivery.ledger.db.tables import PARTITIONED_TABLES, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Any constant will do; it keeps two deploys from migrating at the same time.
ADVISORY_LOCK = 7_233_201_914_205_511
MAX_WAIT_SECONDS = 60

_PARTITION = re.compile(rf"^({'|'.join(PARTITIONED_TABLES)})_\d{{8}}$")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave the daily partitions out of comparisons: the relay makes and drops them."""
    return kind != "table" or name is None or _PARTITION.match(name) is None


def database_url() -> str:
    """Where to migrate: given by the caller of Alembic's API, or by the environment."""
    given = context.config.attributes.get("database_url") or os.environ.get("WAYBILL_DATABASE_URL")
    if not given:
        raise SystemExit("Set WAYBILL_DATABASE_URL to the database that is to be migrated.")
    return "postgresql+psycopg://" + str(given).partition("://")[2]


def acquire_advisory_lock(connection: Connection) -> None:
    """Wait for the advisory lock outside of a transaction: an index built concurrently waits for them all."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}).scalar():
        connection.commit()
        if time.monotonic() > deadline:
            raise SystemExit(f"Another migration has been running for {MAX_WAIT_SECONDS} seconds.")
        time.sleep(0.2)


def run_migrations() -> None:
    """Migrate in one transaction per revision, holding the advisory lock for the whole run."""
    # No pool: when a migration fails, its connection ends with it, and so does the lock.
    engine = create_engine(
        database_url(), poolclass=NullPool, connect_args={"application_name": "waybill migrate"}
    )
    with engine.connect() as connection:
        acquire_advisory_lock(connection)
        connection.execute(text("set lock_timeout = '4s'"))
        connection.execute(text("set statement_timeout = '10min'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=include_name,
            transaction_per_migration=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()


if context.is_offline_mode():
    raise SystemExit("Migrations run against a database; there is no offline mode.")
run_migrations()
