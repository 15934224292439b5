"""Endpoints choose how their events are written, and whether the data comes with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without a default: no row is written, and nothing changes for those that are there."""
    op.add_column("endpoints", sa.Column("format", sa.Text()))
    op.add_column("endpoints", sa.Column("payload", sa.Text()))


def downgrade() -> None:
    """Take them away again."""
    for column in ("payload", "format"):
        op.drop_column("endpoints", column)
