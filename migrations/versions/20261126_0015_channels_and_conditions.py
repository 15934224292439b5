"""Channels of events and endpoints, and conditions of endpoints on what an event holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns without a default: no row is written, and who does not know them leaves them alone."""
    op.add_column("endpoints", sa.Column("channels", ARRAY(sa.Text())))
    op.add_column("endpoints", sa.Column("condition", sa.Text()))
    op.add_column("events", sa.Column("channels", ARRAY(sa.Text())))
    op.add_column("deliveries", sa.Column("condition_failed", sa.Text()))


def downgrade() -> None:
    """Take them away again: endpoints get what their types alone ask for."""
    op.drop_column("deliveries", "condition_failed")
    op.drop_column("events", "channels")
    op.drop_column("endpoints", "condition")
    op.drop_column("endpoints", "channels")
