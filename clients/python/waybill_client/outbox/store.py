"""The forwarder's view of an outbox. Each method is one short transaction.

They raise OutboxUnavailable when the database does not answer, and OutboxMisconfigured without the table.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from psycopg.errors import UndefinedTable
from sqlalchemy import MetaData, create_engine, delete, exists, func, literal, null, or_, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from waybill_client.outbox.errors import OutboxMisconfigured, OutboxUnavailable
from waybill_client.outbox.table import DEFAULT_TABLE_NAME, define_outbox_table, split_table_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Connection, Engine, Row, Update

MAX_BATCH_EVENTS: Final = 500
# A batch ends with the row that exceeds it. Half of the client's limit for one request.
MAX_BATCH_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An event as the application wrote it."""

    id: int
    type: str
    data: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are sent together, in order. `id` is their idempotency key."""

    id: UUID
    rows: tuple[OutboxRow, ...]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that Waybill refused, with the reason."""

    id: int
    type: str
    stream: str | None
    created_at: datetime
    refused_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """Rows by state, and the age of the oldest row that was not refused."""

    waiting: int
    in_flight: int
    refused: int
    oldest_created_at: datetime | None


def open_database(url: str) -> Engine:
    """Make an engine for the application's database; it connects later. Raises OutboxMisconfigured."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        raise OutboxMisconfigured("--database must begin with postgresql://")
    try:
        return create_engine(
            f"postgresql+psycopg://{rest}",
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            pool_size=1,
            connect_args={
                "application_name": "waybill outbox",
                "connect_timeout": 5,
                "tcp_user_timeout": 30_000,  # milliseconds; without it a silent network blocks for hours
                "prepare_threshold": None,  # a connection pooler may be in between
            },
        )
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise OutboxMisconfigured("--database cannot be read: postgresql://user:password@host/name") from None


class OutboxStore:
    """Reads and writes one outbox for forwarders."""

    def __init__(self, engine: Engine, table: str = DEFAULT_TABLE_NAME) -> None:
        """`table` may include a schema: `shop.waybill_outbox`."""
        schema, name = split_table_name(table)
        self._engine = engine
        self._table = define_outbox_table(MetaData(), name, schema=schema)
        self._has_channels = False

    def claim_batch(self, *, lease: timedelta, limit: int = MAX_BATCH_EVENTS) -> Batch | None:
        """Lease a batch: one whose lease has expired, unchanged, or a new one of waiting rows.

        Returns None when there is nothing to send. A stream waits while an earlier batch holds rows of it.
        """
        with self._transaction() as tx:
            tx.execute(_SET_TIMEOUTS)
            # One claim at a time: a concurrent claim is invisible and could be overtaken within a stream.
            tx.execute(select(func.pg_advisory_xact_lock(func.hashtext(literal(self._table.fullname)))))
            # A table made by an earlier release may lack the column.
            self._has_channels = self._has_channels or bool(
                tx.execute(_HAS_CHANNELS, self._table_parameters).scalar()
            )
            return self._reclaim_lapsed(tx, lease) or self._claim_waiting(tx, lease, limit)

    def delete_sent(self, batch: Batch, count: int | None = None) -> None:
        """Delete the first `count` rows of a batch, or all: Waybill has accepted them. The others wait."""
        t = self._table.c
        ids = [row.id for row in batch.rows[:count]]
        with self._transaction() as tx:
            tx.execute(delete(self._table).where(t.batch == batch.id, t.id.in_(ids)))
            if len(ids) < len(batch.rows):
                tx.execute(self._update_batch(batch).values(_UNCLAIMED))

    def split_batch(self, batch: Batch) -> None:
        """Keep the first half as a batch and release the rest: one row is refused, and none was accepted.

        Under a new key: the same key with other events would be a conflict.
        """
        t = self._table.c
        first = [row.id for row in batch.rows[: len(batch.rows) // 2]]
        in_batch = t.batch == batch.id
        with self._transaction() as tx:
            tx.execute(
                update(self._table).where(in_batch, t.id.in_(first)).values(batch=uuid4(), **_LEASE_ENDED)
            )
            tx.execute(update(self._table).where(in_batch, t.id.not_in(first)).values(_UNCLAIMED))

    def mark_refused(self, batch: Batch, reason: str, *, index: int | None = None) -> None:
        """Set aside the rows of a batch with the reason, or only the row at `index`; the others wait."""
        refused = self._update_batch(batch)
        if index is not None:
            refused = refused.where(self._table.c.id == batch.rows[index].id)
        with self._transaction() as tx:
            tx.execute(refused.values(_UNCLAIMED | {"refused_at": _NOW, "reason": reason}))
            tx.execute(self._update_batch(batch).values(_UNCLAIMED))

    def release_lease(self, batch: Batch) -> None:
        """End the lease, so that the next forwarder sends the same batch again."""
        with self._transaction() as tx:
            tx.execute(self._update_batch(batch).values(**_LEASE_ENDED))

    def read_status(self) -> OutboxStatus:
        """Count the rows by state."""
        t = self._table.c
        refused = t.refused_at.is_not(None)
        in_flight = t.batch.is_not(None)
        with self._transaction() as tx:
            row = tx.execute(
                select(
                    func.count().filter(~refused, ~in_flight),
                    func.count().filter(in_flight),
                    func.count().filter(refused),
                    func.min(t.created_at).filter(~refused),
                )
            ).one()
        return OutboxStatus(row[0], row[1], row[2], row[3])

    def list_refused(self, *, limit: int, after: int = 0) -> list[RefusedRow]:
        """List refused rows, oldest first."""
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
        """Let refused rows wait again, all of them if `ids` is empty; returns how many."""
        t = self._table.c
        selected = t.id.in_(ids) if ids else t.id.is_not(None)
        rows = update(self._table).where(t.refused_at.is_not(None), selected)
        with self._transaction() as tx:
            return tx.execute(rows.values(refused_at=None, reason=None)).rowcount

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
                raise OutboxMisconfigured(
                    f"No outbox {self._table.fullname} in this database: {why}"
                ) from None
            if isinstance(error, OperationalError) or error.connection_invalidated:
                raise OutboxUnavailable(f"The application's database does not answer: {why}") from error
            raise

    def _reclaim_lapsed(self, tx: Connection, lease: timedelta) -> Batch | None:
        t = self._table.c
        lapsed = select(t.batch).where(t.batch.is_not(None), t.leased_until <= _NOW).order_by(t.id).limit(1)
        batch_id: UUID | None = tx.execute(lapsed).scalar()
        if batch_id is None:
            return None
        claim = update(self._table).where(t.batch == batch_id).values(leased_until=_NOW + lease)
        return _build_batch(batch_id, tx.execute(claim.returning(*self._batch_columns)).all())

    def _claim_waiting(self, tx: Connection, lease: timedelta, limit: int) -> Batch | None:
        t = self._table.c
        in_flight = self._table.alias("in_flight")
        waits = t.batch.is_(None) & t.refused_at.is_(None)
        overtakes = exists().where(in_flight.c.stream == t.stream, in_flight.c.batch.is_not(None))
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
        batch_id = uuid4()
        claim = update(self._table).where(t.id.in_(fitting)).values(batch=batch_id, leased_until=_NOW + lease)
        rows = tx.execute(claim.returning(*self._batch_columns)).all()
        return _build_batch(batch_id, rows) if rows else None

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


# The server's clock, so that all forwarders compare leases by one; not `now()`, since a claim may wait for
# its lock after the transaction began.
_NOW: Final = func.clock_timestamp()
_LEASE_ENDED: Final[dict[str, Any]] = {"leased_until": _NOW}
# A forwarder that hangs in the middle of a claim must not block the others for ever.
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
    outbox_rows = [OutboxRow(row.id, row.type, row.data, tuple(row.channels or ())) for row in rows]
    return Batch(id_, tuple(sorted(outbox_rows, key=lambda row: row.id)))
