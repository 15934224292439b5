"""Changes beside live traffic: indexes built one partition at a time, while everybody goes on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTITIONS = sa.text("""
    select inhrelid::regclass::text from pg_inherits where inhparent = cast(:parent as regclass) order by 1
""")
_UNINDEXED_PARTITIONS = sa.text("""
    select part.inhrelid::regclass::text from pg_inherits part
    where part.inhparent = cast(:parent as regclass) and not exists (
        select from pg_index i join pg_inherits has on has.inhrelid = i.indexrelid
        where i.indrelid = part.inhrelid and has.inhparent = cast(:index as regclass)
    )
    order by 1
""")


def list_partitions(parent: str) -> list[str]:
    """The names of a table's partitions."""
    return list(op.get_bind().execute(_PARTITIONS, {"parent": parent}).scalars())


def build_index(index: str, parent: str, columns: str, *, where: str = "") -> None:
    """Build an index of a partitioned table, outside of transactions; broken off, it goes on where it was."""
    op.execute(f"create index if not exists {index} on only {parent} ({columns}) {where}")
    for partition in (
        op.get_bind().execute(_UNINDEXED_PARTITIONS, {"parent": parent, "index": index}).scalars().all()
    ):
        own = f"{partition}{index.removeprefix(parent)}"
        # One that was broken off stays behind unusable.
        execute_without_timeout(f"drop index concurrently if exists {own}")
        execute_without_timeout(f"create index concurrently {own} on {partition} ({columns}) {where}")
        op.execute(f"alter index {index} attach partition {own}")


def execute_without_timeout(statement: str) -> None:
    """Run what waits for every older transaction, be it a backup: nobody has to wait behind it."""
    with _override_setting("lock_timeout", "0"), _override_setting("statement_timeout", "2h"):
        op.execute(statement)


@contextmanager
def _override_setting(name: str, value: str) -> Iterator[None]:
    before = op.get_bind().execute(sa.text(f"show {name}")).scalar_one()
    op.execute(f"set {name} = '{value}'")
    yield
    op.execute(f"set {name} = '{before}'")
