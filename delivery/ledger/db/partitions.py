"""Daily partitions of the history tables, created ahead so that no insert finds one missing."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.ids import build_min_id
from delivery.ledger.db.tables import PARTITIONED_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from uuid import UUID

    from delivery.ledger.db.session import Transaction

# Yesterday's is for ids made just before midnight and for machines whose clocks lag.
DAYS_BEHIND = 1
DAYS_AHEAD = 4

_LOCK = text("select pg_advisory_xact_lock(7233201914205512)")
_EXISTING = text("""
    select inhrelid::regclass::text
    from pg_inherits
    where inhparent = any (cast(:parents as text[])::regclass[])
""")


async def ensure_partitions(tx: Transaction, *, now: datetime) -> list[str]:
    """Create missing partitions from yesterday to four days ahead; returns their names."""
    wanted = {
        f"{table}_{day:%Y%m%d}": (table, day) for table in PARTITIONED_TABLES for day in _list_days(now)
    }
    existing = set((await tx.execute(_EXISTING, {"parents": list(PARTITIONED_TABLES)})).scalars())
    if wanted.keys() <= existing:
        return []
    await tx.execute(_LOCK)
    existing = set((await tx.execute(_EXISTING, {"parents": list(PARTITIONED_TABLES)})).scalars())
    missing = [name for name in wanted if name not in existing]
    for name in missing:
        table, day = wanted[name]
        await _create_partition(tx, name, table, day)
    return missing


def day_id_bounds(day: date) -> tuple[UUID, UUID]:
    """The smallest id of a day, and the smallest of the day after."""
    return _first_id(day), _first_id(day + timedelta(days=1))


async def _create_partition(tx: Transaction, name: str, table: str, day: date) -> None:
    # Created apart and then attached: `create … partition of` would lock the parent against every insert.
    first, end = day_id_bounds(day)
    fill = " with (fillfactor = 80)" if table == "deliveries" else ""
    await tx.execute(text(f"create table {name} (like {table} including all){fill}"))
    await tx.execute(
        text(f"alter table {table} attach partition {name} for values from ('{first}') to ('{end}')")
    )


def _list_days(now: datetime) -> Iterator[date]:
    today = now.astimezone(UTC).date()
    return (today + timedelta(days=n) for n in range(-DAYS_BEHIND, DAYS_AHEAD + 1))


def _first_id(day: date) -> UUID:
    return build_min_id(datetime.combine(day, time(), tzinfo=UTC))
