"""The outbox table, and how an application writes events into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    FetchedValue,
    Identity,
    Index,
    Insert,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    insert,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from waybill_client.wire import encode_data

if TYPE_CHECKING:
    from waybill_client import Event

DEFAULT_TABLE_NAME = "waybill_outbox"


class _Session(Protocol):
    """SQLAlchemy's Session and AsyncSession."""

    def add(self, instance: object) -> None: ...


class _Entry:
    """A row that the session writes when it flushes."""

    def __init__(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class Outbox:
    """An application's outbox: a table in its own metadata, created by its own migrations."""

    def __init__(
        self, metadata: MetaData, name: str = DEFAULT_TABLE_NAME, *, schema: str | None = None
    ) -> None:
        """Define the table. Alembic's autogenerate includes it; `waybill outbox sql` prints its DDL."""
        self.table = define_outbox_table(metadata, name, schema=schema)
        self._entry = type("OutboxEntry", (_Entry,), {})
        registry(metadata=metadata).map_imperatively(self._entry, self.table, eager_defaults=False)

    def enqueue(self, session: _Session, event: Event, *, stream: str | None = None) -> None:
        """Write an event in the session's transaction, sync or async; it is sent if that commits.

        Events of one stream (such as one order) reach Waybill in the order in which they were written.
        Raises TypeError and ValueError for data that is not JSON.
        """
        session.add(self._entry(_build_values(event, stream)))

    def statement(self, event: Event, *, stream: str | None = None) -> Insert:
        """Build the same as an INSERT statement, for code that uses connections instead of sessions."""
        return insert(self.table).values(**_build_values(event, stream))


def split_table_name(name: str) -> tuple[str | None, str]:
    """Split `shop.waybill_outbox` into schema and table name."""
    schema, _, table = name.rpartition(".")
    return schema or None, table


def render_ddl(name: str = DEFAULT_TABLE_NAME) -> str:
    """Render the SQL that creates the table and its indexes."""
    schema, table_name = split_table_name(name)
    table = define_outbox_table(MetaData(), table_name, schema=schema)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    statements: list[ExecutableDDLElement] = [CreateTable(table), *map(CreateIndex, indexes)]
    return "".join(f"{str(statement.compile(dialect=dialect)).strip()};\n" for statement in statements)


def define_outbox_table(
    metadata: MetaData, name: str = DEFAULT_TABLE_NAME, *, schema: str | None = None
) -> Table:
    """Define the table. A row waits (no batch), is in flight (a batch with a lease), or was refused.

    The id of a batch is its idempotency key. Its rows stay together until Waybill has answered, whichever
    forwarder sends them.
    """
    return Table(
        name,
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("stream", Text),
        Column("type", Text, nullable=False),
        Column("data", Text, nullable=False),  # the exact JSON
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("batch", Uuid),
        Column("leased_until", DateTime(timezone=True)),
        Column("refused_at", DateTime(timezone=True)),
        Column("reason", Text),
        # Last, and only written when used: a table without this column still takes events without channels.
        Column("channels", ARRAY(Text), server_default=FetchedValue()),
        Index(f"{name}_batch", "batch", postgresql_where=text("batch is not null")),
        Index(f"{name}_stream", "stream", postgresql_where=text("batch is not null")),
        schema=schema,
    )


def _build_values(event: Event, stream: str | None) -> dict[str, Any]:
    values = {"stream": stream, "type": event.type, "data": encode_data(event).decode()}
    return values | ({"channels": list(event.channels)} if event.channels else {})
