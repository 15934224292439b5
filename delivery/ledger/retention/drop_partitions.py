"""Whole days of history that go: taken out of their table by a lock that nobody waits for, then dropped.

`drop table` of a partition, or a plain `detach`, would lock the table itself, and everybody would queue
behind whoever reads it at the time. `detach … concurrently` waits by itself: it marks the partition, then
lets everybody finish who may still see it. No transaction can hold it, so this has a connection of its own.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.errors import LockNotAvailable, QueryCanceled

from delivery.errors import Unavailable
from delivery.ledger.partitions import bounds
from delivery.ledger.tables import PARTITIONED
from delivery.retention import OF_DELIVERIES, Day, Partition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.ledger.session import Ledger

_ALONE = "select pg_try_advisory_lock(7233201914205513)"
# Notes that we leave on partitions.
_RETIRED = "waybill: past its term, to be dropped"
_BARE = "waybill: holds no payload that could go"

_PARTITIONS = """
    select part.relname, obj_description(part.oid, 'pg_class') as note
    from pg_inherits i
    join pg_class part on part.oid = i.inhrelid join pg_class whole on whole.oid = i.inhparent
    where whole.relname = any (%(tables)s) and whole.relnamespace = current_schema()::regnamespace
      and not i.inhdetachpending
"""
_PENDING = """
    select part.relname from pg_inherits i
    join pg_class part on part.oid = i.inhrelid join pg_class whole on whole.oid = i.inhparent
    where whole.relname = any (%(tables)s) and whole.relnamespace = current_schema()::regnamespace
      and i.inhdetachpending
"""
_LOOSE = """
    select relname from pg_class
    where relkind = 'r' and relnamespace = current_schema()::regnamespace and not relispartition
      and obj_description(oid, 'pg_class') = %(note)s
"""
_OWED = """
    select exists (select from schedule where delivery_id >= %(first)s and delivery_id < %(end)s)
"""
# Reads all that is owed: once for each day that goes, and that no claim has to pay for an index.
_OWED_EVENTS = "select exists (select from schedule where event_id >= %(first)s and event_id < %(end)s)"
_NAME = re.compile(rf"({'|'.join(PARTITIONED)})_(\d{{8}})")


class Fate(Enum):
    """What became of a day that was to go."""

    DROPPED = auto()
    OWED = auto()  # something of it is still to be delivered
    BUSY = auto()  # somebody has been reading its table for longer than we wait


class Retiring:
    """The connection that takes days away. Only one in the world does so at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        """Wrap a connection whose timeouts are set."""
        self._connection = connection

    @classmethod
    async def open(cls, ledger: Ledger, *, patience: timedelta) -> Retiring:
        """Connect; no statement will wait longer than this. Raises Unavailable."""
        milliseconds = round(patience.total_seconds() * 1000)
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
        """Let others have their turn."""
        await self._connection.close()

    async def take_turn(self) -> bool:
        """Whether nobody else is at it; until `close` it is ours."""
        return bool((await self._rows(_ALONE))[0][0])

    async def partitions(self) -> list[Partition]:
        """The partitions that there are, each with whether it is known to be bare."""
        rows = await self._rows(_PARTITIONS, tables=list(PARTITIONED))
        return [Partition(day, bare=note == _BARE) for name, note in rows if (day := day_of(name))]

    async def mend(self) -> list[tuple[Day, Fate]]:
        """Bring to its end what an earlier run could not: days half taken out, and days not yet dropped."""
        fates: list[tuple[Day, Fate]] = []
        for (name,) in await self._rows(_PENDING, tables=list(PARTITIONED)):
            day = day_of(name)
            if day and not await self._patiently("alter table {table} detach partition {name} finalize", day):
                fates.append((day, Fate.BUSY))
        for (name,) in await self._rows(_LOOSE, note=_RETIRED):
            if day := day_of(name):
                fates.append((day, await self._drop_or_return(day)))
        return fates

    async def retire(self, day: Day) -> Fate:
        """Drop a day, unless something of it is still owed or somebody reads its table for too long."""
        if await self._is_owed(day):
            return Fate.OWED
        await self._note(day, _RETIRED)
        if not await self._patiently("alter table {table} detach partition {name} concurrently", day):
            return Fate.BUSY
        return await self._drop_or_return(day)

    async def note_bare(self, day: Day) -> None:
        """Keep in mind that this day has no payload that could still go."""
        await self._note(day, _BARE)

    async def _drop_or_return(self, day: Day) -> Fate:
        # From the moment it was marked nobody could find it any more; what was asked for just before counts.
        if await self._is_owed(day):
            first, end = bounds(day.day)
            values = {"first": sql.Literal(str(first)), "end": sql.Literal(str(end))}
            attach = "alter table {table} attach partition {name} for values from ({first}) to ({end})"
            await self._patiently(attach, day, **values)
            await self._note(day, None)
            return Fate.OWED
        dropped = await self._patiently("drop table {name}", day)
        return Fate.DROPPED if dropped else Fate.BUSY

    async def _is_owed(self, day: Day) -> bool:
        first, end = bounds(day.day)
        if day.table == "events":
            return bool((await self._rows(_OWED_EVENTS, first=first, end=end))[0][0])
        if day.table in OF_DELIVERIES:
            return bool((await self._rows(_OWED, first=first, end=end))[0][0])
        return False

    async def _note(self, day: Day, note: str | None) -> None:
        await self._patiently("comment on table {name} is {note}", day, note=sql.Literal(note))

    async def _patiently(self, statement: LiteralString, day: Day, **values: sql.Composable) -> bool:
        """Run a statement about a day; False when others did not make room for it in time."""
        names = {"table": sql.Identifier(day.table), "name": sql.Identifier(day.name)}
        try:
            await self._connection.execute(sql.SQL(statement).format(**names, **values))
        except (LockNotAvailable, QueryCanceled):
            return False
        except psycopg.Error as error:
            raise _unavailable(error) from error
        return True

    async def _rows(self, query: LiteralString, **values: object) -> Sequence[tuple[Any, ...]]:
        try:
            return await (await self._connection.execute(query, values)).fetchall()
        except psycopg.Error as error:
            raise _unavailable(error) from error


def day_of(name: str) -> Day | None:
    """The day that a partition's name tells; None for a table that is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Day(found[1], datetime.strptime(f"{found[2]}+0000", "%Y%m%d%z").date())


def _unavailable(error: psycopg.Error) -> Unavailable:
    return Unavailable(f"The ledger does not take days away: {str(error).partition(chr(10))[0]}")
