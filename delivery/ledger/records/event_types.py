"""The catalogue of event types, shared by all tenants: every key with the scope `read` may read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as insert_into

from delivery.ledger.db.fast_path import execute
from delivery.ledger.db.tables import event_type_versions, event_types

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import RowMapping

    from delivery.ledger.db.session import Transaction

_CATALOGUE_VERSION = text("select version from catalogue")
# A row that is locked during each change of the catalogue.
_LOCK_CATALOGUE = text("""
    insert into catalogue (version) values (1)
    on conflict (id) do update set version = catalogue.version + 1
""")
_VALIDATION_SCHEMAS = text("""
    select t.name, v.schema from event_types t join event_type_versions v using (name, version)
    where t.validation = 'reject' and t.archived_at is null and v.schema is not null
""")
_COUNT = text("select count(*) from event_types")

VALIDATION_OFF: Final = "off"
VALIDATION_REJECT: Final = "reject"


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type. `version` is the newest one, which applies; `validation`: `off` or `reject`."""

    name: str
    description: str
    validation: str
    version: int
    created_at: datetime
    changed_at: datetime
    deprecated_at: datetime | None = None
    deprecated_until: datetime | None = None
    replaced_by: str | None = None
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventTypeVersionSummary:
    """A version of a type: its actor and time."""

    version: int
    made_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventTypeVersion:
    """A type's JSON Schema and its JSON array of examples, as they were written."""

    name: str
    version: int
    schema: str | None
    examples: str
    made_by: str
    created_at: datetime


async def read_catalogue_version(tx: Transaction) -> int:
    """The number of changes of the catalogue."""
    rows = await execute(tx, _CATALOGUE_VERSION, {})
    return int(rows[0].version) if rows else 0


async def load_validation_schemas(tx: Transaction) -> Mapping[str, str]:
    """The schemas that events are validated by, by type."""
    return {row.name: row.schema for row in await execute(tx, _VALIDATION_SCHEMAS, {})}


async def lock_catalogue(tx: Transaction) -> None:
    """Lock the catalogue for a change, and count the change."""
    await tx.execute(_LOCK_CATALOGUE)


async def count_types(tx: Transaction) -> int:
    """Count the types, archived ones too."""
    return int((await tx.execute(_COUNT)).scalar_one())


async def list_types(tx: Transaction, *, include_archived: bool = False) -> list[EventType]:
    """All types by name, optionally with archived ones."""
    query = select(event_types).order_by(event_types.c.name.collate("C"))
    if not include_archived:
        query = query.where(event_types.c.archived_at.is_(None))
    return [_type_from_row(row) for row in (await tx.execute(query)).mappings()]


async def read(tx: Transaction, name: str) -> EventType | None:
    """One type, archived or not."""
    found = await tx.execute(select(event_types).where(event_types.c.name == name))
    row = found.mappings().one_or_none()
    return None if row is None else _type_from_row(row)


async def read_versions(tx: Transaction, name: str, *, limit: int) -> list[EventTypeVersionSummary]:
    """A type's versions, newest first, without schemas and examples."""
    columns = event_type_versions.c
    query = select(columns.version, columns.made_by, columns.created_at).where(columns.name == name)
    rows = await tx.execute(query.order_by(columns.version.desc()).limit(limit))
    return [EventTypeVersionSummary(**row) for row in rows.mappings()]


async def read_version(tx: Transaction, name: str, number: int) -> EventTypeVersion | None:
    """One version of a type."""
    columns = event_type_versions.c
    query = select(event_type_versions).where(columns.name == name, columns.version == number)
    row = (await tx.execute(query)).mappings().one_or_none()
    return None if row is None else _version_from_row(row)


async def list_newest_versions(tx: Transaction) -> list[tuple[EventType, EventTypeVersion]]:
    """All types that are not archived, by name, each with its newest version."""
    versions_of = event_type_versions.c
    query = select(event_type_versions)
    types = await list_types(tx)
    wanted = [(one.name, one.version) for one in types]
    query = query.where(tuple_(versions_of.name, versions_of.version).in_(wanted))
    found = {row["name"]: _version_from_row(row) for row in (await tx.execute(query)).mappings()}
    return [(one, found[one.name]) for one in types]


async def write(tx: Transaction, event_type: EventType) -> None:
    """Insert or update a type."""
    values: dict[str, Any] = {name: getattr(event_type, name) for name in event_types.c.keys()}  # noqa: SIM118  columns
    await tx.execute(
        insert_into(event_types).values(values).on_conflict_do_update(index_elements=["name"], set_=values)
    )


async def append_version(tx: Transaction, version: EventTypeVersion) -> None:
    """Insert a new version."""
    values: dict[str, Any] = {name: getattr(version, name) for name in event_type_versions.c.keys()}  # noqa: SIM118  likewise
    await tx.execute(insert_into(event_type_versions).values(values))


def _type_from_row(row: RowMapping) -> EventType:
    return EventType(**row)


def _version_from_row(row: RowMapping) -> EventTypeVersion:
    return EventTypeVersion(**row)
