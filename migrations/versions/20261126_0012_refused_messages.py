"""Messages that came over RabbitMQ and could not be accepted, for people to see to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, behind the wall: no request of a tenant reaches it."""
    op.create_table(
        "refused_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid()),
        sa.Column("key_id", sa.Uuid()),
        sa.Column("message_id", sa.Text()),
        sa.Column("publisher", sa.Text()),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="refused_messages_tenant_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="refused_messages_pkey"),
        sa.UniqueConstraint("fingerprint", name="refused_messages_fingerprint_key"),
    )
    op.create_index("refused_messages_last_at_idx", "refused_messages", ["last_at"])
    op.execute("alter table refused_messages enable row level security")


def downgrade() -> None:
    """Take the table away, with what is in it."""
    op.drop_table("refused_messages")
