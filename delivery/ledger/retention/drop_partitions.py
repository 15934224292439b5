"""Detach expired daily partitions concurrently, then drop them.

`drop table` of a partition, or a plain `detach`, would lock the table itself, and every query would wait
behind the readers of the moment. `detach … concurrently` marks the partition and waits until older queries
have finished. It cannot run in a transaction, so it has a connection of its own.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.errors import LockNotAvailable, QueryCanceled

from delivery.domain.errors import Unavailable
from delivery.domain.retention import DELIVERY_TABLES, DayPartition, PartitionState
from delivery.ledger.db.partitions import day_id_bounds
from delivery.ledger.db.tables import PARTITIONED_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.ledger.db.session import Ledger

_TRY_LOCK = "select pg_try_advisory_lock(7233201914205513)"
# Comments on partitions.
_TO_DROP_NOTE = "waybill: past its term, to be dropped"
_NO_PAYLOAD_NOTE = "waybill: holds no payload that could go"

_PARTITIONS = """
    select part.relname, obj_description(part.oid, 'pg_class') as note
    from pg_inherits i
    join pg_class part on part.oid = i.inhrelid join pg_class whole on whole.oid = i.inhparent
    where whole.relname = any (%(tables)s) and whole.relnamespace = current_schema()::regnamespace
      and not i.inhdetachpending
"""
_DETACH_PENDING = """
    select part.relname from pg_inherits i
    join pg_class part on part.oid = i.inhrelid join pg_class whole on whole.oid = i.inhparent
    where whole.relname = any (%(tables)s) and whole.relnamespace = current_schema()::regnamespace
      and i.inhdetachpending
"""
_DETACHED = """
    select relname from pg_class
    where relkind = 'r' and relnamespace = current_schema()::regnamespace and not relispartition
      and obj_description(oid, 'pg_class') = %(note)s
"""
_IS_OWED = """
    select exists (select from schedule where delivery_id >= %(first)s and delivery_id < %(end)s)
"""
# Reads all unfinished deliveries, once per dropped day: an index would cost every claim.
_EVENTS_ARE_OWED = "select exists (select from schedule where event_id >= %(first)s and event_id < %(end)s)"
_PARTITION_NAME = re.compile(rf"({'|'.join(PARTITIONED_TABLES)})_(\d{{8}})")


class PartitionFate(Enum):
    """The result of dropping a day."""

    DROPPED = auto()
    OWED = auto()  # a delivery of it is unfinished
    BUSY = auto()  # queries on its table ran for longer than we wait


class PartitionDropper:
    """The connection that drops days. An advisory lock allows one at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        """Wrap a connection whose timeouts are set."""
        self._connection = connection

    @classmethod
    async def open(cls, ledger: Ledger, *, statement_timeout: timedelta) -> PartitionDropper:
        """Connect; no statement will wait longer than this. Raises Unavailable."""
        milliseconds = round(statement_timeout.total_seconds() * 1000)
        try:
            connection = await psycopg.AsyncConnection.connect(
                ledger.url.replace("+psycopg", "", 1),
                autocommit=True,
                connect_timeout=5,
                application_name="waybill retention",
                options=f"-c lock_timeout={milliseconds} -c statement_timeout={milliseconds}",
            )
        except psycopg.Error as error:
            raise _unavailable(error) from error
        return cls(connection)

    async def close(self) -> None:
        """Release the lock and close."""
        await self._connection.close()

    async def try_lock(self) -> bool:
        """Take the lock until `close`; False if another process has it."""
        return bool((await self._fetch_rows(_TRY_LOCK))[0][0])

    async def list_partitions(self) -> list[PartitionState]:
        """The partitions, each with whether it is marked as having no payloads."""
        rows = await self._fetch_rows(_PARTITIONS, tables=list(PARTITIONED_TABLES))
        return [
            PartitionState(day, payloads_removed=note == _NO_PAYLOAD_NOTE)
            for name, note in rows
            if (day := parse_partition_name(name))
        ]

    async def finish_pending(self) -> list[tuple[DayPartition, PartitionFate]]:
        """Finish an interrupted run: detach and drop its days."""
        fates: list[tuple[DayPartition, PartitionFate]] = []
        for (name,) in await self._fetch_rows(_DETACH_PENDING, tables=list(PARTITIONED_TABLES)):
            day = parse_partition_name(name)
            if day and not await self._execute_within_timeout(
                "alter table {table} detach partition {name} finalize", day
            ):
                fates.append((day, PartitionFate.BUSY))
        for (name,) in await self._fetch_rows(_DETACHED, note=_TO_DROP_NOTE):
            if day := parse_partition_name(name):
                fates.append((day, await self._drop_or_reattach(day)))
        return fates

    async def drop_day(self, day: DayPartition) -> PartitionFate:
        """Drop a day, unless a delivery of it is unfinished or queries on its table run too long."""
        if await self._is_owed(day):
            return PartitionFate.OWED
        await self._set_comment(day, _TO_DROP_NOTE)
        if not await self._execute_within_timeout(
            "alter table {table} detach partition {name} concurrently", day
        ):
            return PartitionFate.BUSY
        return await self._drop_or_reattach(day)

    async def mark_without_payload(self, day: DayPartition) -> None:
        """Mark this day as having no payloads to delete."""
        await self._set_comment(day, _NO_PAYLOAD_NOTE)

    async def _drop_or_reattach(self, day: DayPartition) -> PartitionFate:
        # After detaching, no query finds the day; a replay requested just before still counts.
        if await self._is_owed(day):
            first, end = day_id_bounds(day.day)
            values = {"first": sql.Literal(str(first)), "end": sql.Literal(str(end))}
            attach = "alter table {table} attach partition {name} for values from ({first}) to ({end})"
            await self._execute_within_timeout(attach, day, **values)
            await self._set_comment(day, None)
            return PartitionFate.OWED
        dropped = await self._execute_within_timeout("drop table {name}", day)
        return PartitionFate.DROPPED if dropped else PartitionFate.BUSY

    async def _is_owed(self, day: DayPartition) -> bool:
        first, end = day_id_bounds(day.day)
        if day.table == "events":
            return bool((await self._fetch_rows(_EVENTS_ARE_OWED, first=first, end=end))[0][0])
        if day.table in DELIVERY_TABLES:
            return bool((await self._fetch_rows(_IS_OWED, first=first, end=end))[0][0])
        return False

    async def _set_comment(self, day: DayPartition, note: str | None) -> None:
        await self._execute_within_timeout("comment on table {name} is {note}", day, note=sql.Literal(note))

    async def _execute_within_timeout(
        self, statement: LiteralString, day: DayPartition, **values: sql.Composable
    ) -> bool:
        """Run a statement on a day; False if its lock was not granted in time."""
        names = {"table": sql.Identifier(day.table), "name": sql.Identifier(day.name)}
        try:
            await self._connection.execute(sql.SQL(statement).format(**names, **values))
        except (LockNotAvailable, QueryCanceled):
            return False
        except psycopg.Error as error:
            raise _unavailable(error) from error
        return True

    async def _fetch_rows(self, query: LiteralString, **values: object) -> Sequence[tuple[Any, ...]]:
        try:
            return await (await self._connection.execute(query, values)).fetchall()
        except psycopg.Error as error:
            raise _unavailable(error) from error


def parse_partition_name(name: str) -> DayPartition | None:
    """The day in a partition's name; None for other tables."""
    found = _PARTITION_NAME.fullmatch(name)
    if found is None:
        return None
    return DayPartition(found[1], datetime.strptime(f"{found[2]}+0000", "%Y%m%d%z").date())


def _unavailable(error: psycopg.Error) -> Unavailable:
    return Unavailable(f"The ledger does not take days away: {str(error).partition(chr(10))[0]}")
