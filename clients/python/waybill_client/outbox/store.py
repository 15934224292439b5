"""What a forwarder reads and writes in an outbox. Each method is one short transaction.

They raise Unavailable when the database does not answer, and Misconfigured where it has no such table.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from psycopg.errors import UndefinedTable
from sqlalchemy import MetaData, create_engine, delete, exists, func, literal, null, or_, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from delivery.domain.errors import Misconfigured, Unavailable
from delivery.outbox.table import DEFAULT_TABLE_NAME, define_outbox_table, split_table_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection, Engine, Row, Update

MAX_BATCH_EVENTS: Final = 500
# A batch ends with the row that goes beyond it: half of what the client puts into one request.
MAX_BATCH_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row: an event as the application wrote it."""

    id: int
    type: str
    data: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are sent together, in their order; `id` is the idempotency key that they go under."""

    id: UUID
    rows: tuple[OutboxRow, ...]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that Waybill refused, and why."""

    id: int
    type: str
    stream: str | None
    created_at: datetime
    refused_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How an outbox stands: rows by state, and since when the oldest of those not refused waits."""

    waiting: int
    in_flight: int
    refused: int
    oldest_created_at: datetime | None


def open_database(url: str) -> Engine:
    """Connections to the application's database; nothing is dialled yet. Raises Misconfigured."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        raise Misconfigured("--database must begin with postgresql://")
    try:
        return create_engine(
            f"postgresql+psycopg://{rest}",
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            pool_size=1,
            connect_args={
                "application_name": "waybill outbox",
                "connect_timeout": 5,
                "tcp_user_timeout": 30_000,  # milliseconds: a silent network must not hold it for hours
                "prepare_threshold": None,  # a pooler may stand before the database
            },
        )
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise Misconfigured("--database cannot be read: postgresql://user:password@host/name") from None


class OutboxStore:
    """One outbox, as a forwarder sees it."""

    def __init__(self, engine: Engine, table: str = DEFAULT_TABLE_NAME) -> None:
        """`table` may name its schema: `shop.waybill_outbox`."""
        schema, name = split_table_name(table)
        self._engine = engine
        self._table = define_outbox_table(MetaData(), name, schema=schema)
        self._has_channels = False

    def claim_batch(self, *, lease: timedelta, limit: int = MAX_BATCH_EVENTS) -> Batch | None:
        """Take a batch for a while: one whose lease has lapsed, as it was, or one of rows that wait.

        None: there is nothing to do now. What is of a stream waits while an earlier batch has some of it.
        """
        with self._transaction() as tx:
            tx.execute(_SET_TIMEOUTS)
            # One claim at a time: who did not see what another is just taking could overtake it in a stream.
            tx.execute(select(func.pg_advisory_xact_lock(func.hashtext(literal(self._table.fullname)))))
            # Who made the table with an earlier release may not have added the column yet.
            self._has_channels = self._has_channels or bool(
                tx.execute(_HAS_CHANNELS, self._table_parameters).scalar()
            )
            return self._reclaim_lapsed(tx, lease) or self._claim_waiting(tx, lease, limit)

    def delete_sent(self, batch: Batch, count: int | None = None) -> None:
        """Forget the rows of a batch, or the first of them: Waybill has accepted these. The others wait."""
        t = self._table.c
        ids = [row.id for row in batch.rows[:count]]
        with self._transaction() as tx:
            tx.execute(delete(self._table).where(t.batch == batch.id, t.id.in_(ids)))
            if len(ids) < len(batch.rows):
                tx.execute(self._update_batch(batch).values(_UNCLAIMED))

    def split_batch(self, batch: Batch) -> None:
        """Send the first half by itself and let the rest wait: one of them is refused, none was accepted.

        Under another key: the same one with other events would be a conflict.
        """
        t = self._table.c
        first = [row.id for row in batch.rows[: len(batch.rows) // 2]]
        whole = t.batch == batch.id
        with self._transaction() as tx:
            tx.execute(
                update(self._table).where(whole, t.id.in_(first)).values(batch=uuid4(), **_LEASE_ENDED)
            )
            tx.execute(update(self._table).where(whole, t.id.not_in(first)).values(_UNCLAIMED))

    def mark_refused(self, batch: Batch, reason: str, *, index: int | None = None) -> None:
        """Keep the rows of a batch apart, with the reason, for a person to look at.

        Or only the one at this place; the others wait again.
        """
        condemned = self._update_batch(batch)
        if index is not None:
            condemned = condemned.where(self._table.c.id == batch.rows[index].id)
        with self._transaction() as tx:
            tx.execute(condemned.values(_UNCLAIMED | {"refused_at": _NOW, "reason": reason}))
            tx.execute(self._update_batch(batch).values(_UNCLAIMED))

    def release_lease(self, batch: Batch) -> None:
        """End the lease: whoever comes next sends the same batch again."""
        with self._transaction() as tx:
            tx.execute(self._update_batch(batch).values(**_LEASE_ENDED))

    def read_status(self) -> OutboxStatus:
        """Count the rows."""
        t = self._table.c
        refused = t.refused_at.is_not(None)
        moving = t.batch.is_not(None)
        with self._transaction() as tx:
            row = tx.execute(
                select(
                    func.count().filter(~refused, ~moving),
                    func.count().filter(moving),
                    func.count().filter(refused),
                    func.min(t.created_at).filter(~refused),
                )
            ).one()
        return OutboxStatus(row[0], row[1], row[2], row[3])

    def list_refused(self, *, limit: int, after: int = 0) -> list[RefusedRow]:
        """What Waybill refused, oldest first."""
        t = self._table.c
        with self._transaction() as tx:
            rows = tx.execute(
                select(t.id, t.type, t.stream, t.created_at, t.refused_at, t.reason)
                .where(t.refused_at.is_not(None), t.id > after)
                .order_by(t.id)
                .limit(limit)
            )
            return [RefusedRow(*row) for row in rows]

    def retry_refused(self, ids: Sequence[int]) -> int:
        """Let refused rows wait again, all of them where none is named; returns how many."""
        t = self._table.c
        named = t.id.in_(ids) if ids else t.id.is_not(None)
        again = update(self._table).where(t.refused_at.is_not(None), named)
        with self._transaction() as tx:
            return tx.execute(again.values(refused_at=None, reason=None)).rowcount

    def discard_refused(self, ids: Sequence[int]) -> int:
        """Delete refused rows; returns how many."""
        t = self._table.c
        with self._transaction() as tx:
            return tx.execute(delete(self._table).where(t.refused_at.is_not(None), t.id.in_(ids))).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as tx:
                yield tx
        except DBAPIError as error:
            why = str(error.orig).strip().split("\n", 1)[0]
            if isinstance(error.orig, UndefinedTable):
                raise Misconfigured(f"No outbox {self._table.fullname} in this database: {why}") from None
            if isinstance(error, OperationalError) or error.connection_invalidated:
                raise Unavailable(f"The application's database does not answer: {why}") from error
            raise

    def _reclaim_lapsed(self, tx: Connection, lease: timedelta) -> Batch | None:
        t = self._table.c
        lapsed = select(t.batch).where(t.batch.is_not(None), t.leased_until <= _NOW).order_by(t.id).limit(1)
        found: UUID | None = tx.execute(lapsed).scalar()
        if found is None:
            return None
        taken = update(self._table).where(t.batch == found).values(leased_until=_NOW + lease)
        return _build_batch(found, tx.execute(taken.returning(*self._batch_columns)).all())

    def _claim_waiting(self, tx: Connection, lease: timedelta, limit: int) -> Batch | None:
        t = self._table.c
        moving = self._table.alias("moving")
        waits = t.batch.is_(None) & t.refused_at.is_(None)
        overtakes = exists().where(moving.c.stream == t.stream, moving.c.batch.is_not(None))
        size = func.octet_length(t.data).label("size")
        first = (
            select(t.id, size)
            .where(waits, or_(t.stream.is_(None), ~overtakes))
            .order_by(t.id)
            .limit(limit)
            .with_for_update()
            .cte("first")
        )
        before = (func.sum(first.c.size).over(order_by=first.c.id) - first.c.size).label("before")
        sized = select(first.c.id, before).subquery()
        fitting = select(sized.c.id).where(sized.c.before < MAX_BATCH_BYTES)
        batch = uuid4()
        taken = update(self._table).where(t.id.in_(fitting)).values(batch=batch, leased_until=_NOW + lease)
        rows = tx.execute(taken.returning(*self._batch_columns)).all()
        return _build_batch(batch, rows) if rows else None

    @property
    def _table_parameters(self) -> dict[str, str]:
        return {"table": self._engine.dialect.identifier_preparer.format_table(self._table)}

    @property
    def _batch_columns(self) -> list[ColumnElement[Any]]:
        t = self._table.c
        return [t.id, t.type, t.data, t.channels if self._has_channels else null().label("channels")]

    def _update_batch(self, batch: Batch) -> Update:
        t = self._table.c
        return update(self._table).where(t.batch == batch.id, t.id.in_([row.id for row in batch.rows]))


# Of the server, and of the moment: leases are judged by one clock, and a claim may have waited for its turn.
_NOW: Final = func.clock_timestamp()
_LEASE_ENDED: Final[dict[str, Any]] = {"leased_until": _NOW}
# Who stops in the middle of a claim must not stop the others for ever, nor wait so long for who does.
_SET_TIMEOUTS: Final = select(
    func.set_config("lock_timeout", "10s", True),  # noqa: FBT003  for this transaction
    func.set_config("idle_in_transaction_session_timeout", "30s", True),  # noqa: FBT003  for this transaction
)
_HAS_CHANNELS: Final = text("""
    select exists (
        select from pg_attribute
        where attrelid = to_regclass(cast(:table as text)) and attname = 'channels' and not attisdropped
    )
""")
_UNCLAIMED: Final[dict[str, Any]] = {"batch": None, "leased_until": None}


def _build_batch(id_: UUID, rows: Sequence[Row[Any]]) -> Batch:
    waiting = [OutboxRow(row.id, row.type, row.data, tuple(row.channels or ())) for row in rows]
    return Batch(id_, tuple(sorted(waiting, key=lambda row: row.id)))
