"""Attempts are found by their endpoint: an index, built beside live traffic, one partition at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEX = "attempts_endpoint_id_id_idx"
_LACKING = sa.text(f"""
    select part.inhrelid::regclass::text from pg_inherits part
    where part.inhparent = 'attempts'::regclass and not exists (
        select from pg_index i join pg_inherits has on has.inhrelid = i.indexrelid
        where i.indrelid = part.inhrelid and has.inhparent = '{_INDEX}'::regclass
    )
    order by 1
""")  # noqa: S608  a name of ours


def upgrade() -> None:
    """Build the index; run again after it was broken off, it goes on where it was."""
    with op.get_context().autocommit_block():
        op.execute(f"create index if not exists {_INDEX} on only attempts (endpoint_id, id)")
        for partition in op.get_bind().execute(_LACKING).scalars().all():
            own = f"{partition}_endpoint_id_id_idx"
            # One that was broken off stays behind unusable.
            _patiently(f"drop index concurrently if exists {own}")
            _patiently(f"create index concurrently {own} on {partition} (endpoint_id, id)")
            op.execute(f"alter index {_INDEX} attach partition {own}")


def _patiently(statement: str) -> None:
    """Run what waits for every older transaction, be it a backup: nobody has to wait behind it."""
    with _set("lock_timeout", "0"), _set("statement_timeout", "2h"):
        op.execute(statement)


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = op.get_bind().execute(sa.text(f"show {name}")).scalar_one()
    op.execute(f"set {name} = '{value}'")
    yield
    op.execute(f"set {name} = '{before}'")


def downgrade() -> None:
    """Drop the index, of every partition."""
    op.drop_index(_INDEX, table_name="attempts")
