"""Figures over time: attempts counted by minute and hour in the background."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; they are filled by the relay, backwards over what is there."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "figures",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("outcomes", JSONB(), nullable=False),
        sa.Column("latencies", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "width", "at", name=op.f("figures_pkey")),
    )
    op.create_index("figures_width_at_idx", "figures", ["width", "at"])
    op.create_table(
        "figures_progress",
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("seen_until", moment, nullable=False),
        sa.Column("settled_until", moment, nullable=False),
        sa.Column("summed_until", moment, nullable=False),
        sa.Column("back_to", moment, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("figures_progress_one_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("figures_progress_pkey")),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("figures_progress")
    op.drop_table("figures")
