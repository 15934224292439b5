"""People sign in at the console, and partners come by links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add four tables: nothing that was there before is touched."""
    op.create_table(
        "people",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("disabled_at", _MOMENT),
        sa.CheckConstraint("role in ('viewer', 'support', 'admin')", name=op.f("people_role_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("people_pkey")),
        sa.UniqueConstraint("email", name=op.f("people_email_key")),
    )
    _make_links()
    _make_sessions()
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("sign_in_failures_pkey")),
    )
    op.create_index("sign_in_failures_last_at_idx", "sign_in_failures", ["last_at"])


def _make_links() -> None:
    op.create_table(
        "portal_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid()),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.CheckConstraint("role in ('viewer', 'support')", name=op.f("portal_links_role_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("portal_links_tenant_id_fkey")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("portal_links_key_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("portal_links_pkey")),
        sa.UniqueConstraint("token_sha256", name=op.f("portal_links_token_sha256_key")),
    )
    op.create_index("portal_links_expires_at_idx", "portal_links", ["expires_at"])


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Uuid()),
        sa.Column("link_id", sa.Uuid()),
        sa.Column("address", sa.Text()),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.CheckConstraint("(person_id is null) <> (link_id is null)", name=op.f("sessions_whose_check")),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("sessions_person_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["link_id"], ["portal_links.id"], name=op.f("sessions_link_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("sessions_pkey")),
    )
    for column in ("person_id", "link_id", "expires_at"):
        op.create_index(f"sessions_{column}_idx", "sessions", [column])


def downgrade() -> None:
    """Take it all away again."""
    for table in ("sign_in_failures", "sessions", "portal_links", "people"):
        op.drop_table(table)
