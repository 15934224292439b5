"""The trace that an event came in, for operators who follow deliveries by OpenTelemetry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column without a default: no row is written, and nothing stands in it until somebody wants it."""
    op.add_column("events", sa.Column("traceparent", sa.Text()))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("events", "traceparent")
