"""The catalogue of event types, which is the operator's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, behind the wall: no request of a tenant reaches them by itself."""
    op.create_table(
        "event_types",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("validation", sa.Text(), server_default=sa.text("'off'"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deprecated_at", sa.DateTime(timezone=True)),
        sa.Column("deprecated_until", sa.DateTime(timezone=True)),
        sa.Column("replaced_by", sa.Text()),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("validation in ('off', 'reject')", name="event_types_validation_check"),
        sa.PrimaryKeyConstraint("name", name="event_types_pkey"),
    )
    op.create_table(
        "event_type_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("schema", sa.Text()),
        sa.Column("examples", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["event_types.name"], name="event_type_versions_name_fkey"),
        sa.PrimaryKeyConstraint("name", "version", name="event_type_versions_pkey"),
    )
    op.create_table(
        "catalogue",
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("id = 1", name="catalogue_one_check"),
        sa.PrimaryKeyConstraint("id", name="catalogue_pkey"),
    )
    for table in ("event_types", "event_type_versions", "catalogue"):
        op.execute(f"alter table {table} enable row level security")


def downgrade() -> None:
    """Take the tables away, with what is in them."""
    for table in ("catalogue", "event_type_versions", "event_types"):
        op.drop_table(table)
