"""Endpoints that want to know their clients: certificate and key, sealed, and what may be shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without a default: no row is written."""
    op.add_column("endpoints", sa.Column("client_certificate", sa.JSON()))
    op.add_column("endpoints", sa.Column("sealed_identity", sa.LargeBinary()))


def downgrade() -> None:
    """Take them away again, with what is in them."""
    for column in ("sealed_identity", "client_certificate"):
        op.drop_column("endpoints", column)
