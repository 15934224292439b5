"""Endpoints are shown who calls them: their authentication, sealed, and what of it may be shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without a default: no row is written."""
    op.add_column("endpoints", sa.Column("auth", sa.JSON()))
    op.add_column("endpoints", sa.Column("sealed_auth", sa.LargeBinary()))


def downgrade() -> None:
    """Take them away again, with what is in them."""
    for column in ("sealed_auth", "auth"):
        op.drop_column("endpoints", column)
