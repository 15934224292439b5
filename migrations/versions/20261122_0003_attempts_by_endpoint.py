"""Attempts are found by their endpoint: an index, built beside live traffic, one partition at a time."""

from __future__ import annotations

from alembic import op

from migrations.online import build_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEX = "attempts_endpoint_id_id_idx"


def upgrade() -> None:
    """Build the index; run again after it was broken off, it goes on where it was."""
    with op.get_context().autocommit_block():
        build_index(_INDEX, "attempts", "endpoint_id, id")


def downgrade() -> None:
    """Drop the index, of every partition."""
    op.drop_index(_INDEX, table_name="attempts")
