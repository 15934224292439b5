"""Migrations of a live site only add. Processes of the release before do not know the new parts.

Each migration is applied alone, and the schema before is held against the one after: whatever was read and
written before still can be. That needs no history, and so holds in a shallow clone too; where there is one,
`tests/e2e/test_rolling_upgrade.py` runs the older processes themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.integration.test_schema import INI
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString

CHAIN = [one.revision for one in ScriptDirectory.from_config(Config(INI)).walk_revisions()][::-1]
# By revision: what it removes anyway, and why nothing used it.
EXCUSED: Mapping[str, Mapping[str, str]] = {}


class Column(NamedTuple):
    """The parts that older statements rely on."""

    type: str
    required: bool


def columns(url: str) -> dict[str, Column]:
    """Every column, by `table.column`. `required`: an insert that does not name it fails."""
    with connect(url) as connection:
        rows = connection.execute(
            """
            select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
                   a.attnotnull and not a.atthasdef and a.attidentity = ''
            from pg_class c join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
              and a.attnum > 0 and not a.attisdropped and c.relname <> 'alembic_version'
            """
        )
        return {name: Column(type_, required) for name, type_, required in rows}


def keys(url: str) -> set[str]:
    """What `on conflict` and foreign keys lean on: unique constraints and indexes, by table and columns."""
    with connect(url) as connection:
        rows = connection.execute(
            """
            select indrelid::regclass || ' ' || (
                select string_agg(a.attname, ', ' order by place) from unnest(indkey::int[]) with ordinality
                as k (number, place) join pg_attribute a on a.attrelid = indrelid and a.attnum = k.number
            )
            from pg_index i join pg_class c on c.oid = i.indrelid
            where indisunique and c.relnamespace = 'public'::regnamespace and c.relname <> 'alembic_version'
            """
        )
        return {name for (name,) in rows}


def taken_away(before: dict[str, Column], after: dict[str, Column]) -> dict[str, str]:
    """The changes that would break an older process, by column."""
    faults = dict.fromkeys(before.keys() - after.keys(), "is gone")
    tables = {name.partition(".")[0] for name in before}
    for name, column in after.items():
        was = before.get(name)
        if was is None:
            if column.required and name.partition(".")[0] in tables:
                faults[name] = "is new and has to be given"
        elif was.type != column.type:
            faults[name] = f"was {was.type} and is {column.type}"
        elif column.required and not was.required:
            faults[name] = "has to be given from now on"
    return faults


def at(revision: str, url: str) -> None:
    config = Config(INI)
    config.attributes["database_url"] = url
    command.upgrade(config, revision)


def test_every_migration_leaves_what_older_processes_read_and_write(empty_database_url: str):
    found: dict[str, dict[str, str]] = {}
    at(CHAIN[0], empty_database_url)
    known, unique = columns(empty_database_url), keys(empty_database_url)
    for revision in CHAIN[1:]:
        at(revision, empty_database_url)
        after, unique_after = columns(empty_database_url), keys(empty_database_url)
        faults = taken_away(known, after) | dict.fromkeys(unique - unique_after, "is unique no more")
        if faults.keys() - EXCUSED.get(revision, {}).keys():
            found[revision] = faults
        known, unique = after, unique_after
    assert found == {}


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("alter table tenants drop column retention", {"tenants.retention": "is gone"}),
        ("alter table tenants rename column name to title", {"tenants.name": "is gone"}),
        (
            "alter table tenants alter column name type varchar(9)",
            {"tenants.name": "was text and is character varying(9)"},
        ),
        ("alter table tenants add column plan text not null", {"tenants.plan": "is new and has to be given"}),
        (
            "alter table tenants alter column retention set not null",
            {"tenants.retention": "has to be given from now on"},
        ),
        ("alter table tenants add column plan text not null default 'x'", {}),
        ("create table plans (name text not null)", {}),
    ],
)
def test_destructive_migration_is_detected(
    database_url: str, statement: LiteralString, fault: dict[str, str]
):
    before = columns(database_url)
    with connect(database_url) as connection:
        connection.execute(statement)
    found = taken_away(before, columns(database_url))
    assert {name: found[name] for name in fault} == fault
    assert found.keys() - fault.keys() <= {"tenants.title"}
