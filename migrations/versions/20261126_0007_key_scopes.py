"""Keys have scopes, may expire, tell when they were last used and what took their place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_COLUMNS = ("replaced_by", "requests_per_second", "last_used_at", "expires_at", "scopes")


def upgrade() -> None:
    """Add five columns: a key that was made before goes on doing all that it could."""
    op.add_column(
        "api_keys",
        sa.Column(
            "scopes",
            sa.ARRAY(sa.Text()),
            nullable=False,
            server_default=sa.text("'{publish,manage,read,replay}'"),
        ),
    )
    op.add_column("api_keys", sa.Column("expires_at", _MOMENT))
    op.add_column("api_keys", sa.Column("last_used_at", _MOMENT))
    op.add_column("api_keys", sa.Column("requests_per_second", sa.Integer()))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Uuid()))
    op.create_check_constraint(
        op.f("api_keys_scopes_check"),
        "api_keys",
        "cardinality(scopes) > 0 and scopes <@ array['publish', 'manage', 'read', 'replay']",
    )


def downgrade() -> None:
    """Take them away again. A key that could do less can do everything then."""
    op.drop_constraint(op.f("api_keys_scopes_check"), "api_keys")
    for column in _COLUMNS:
        op.drop_column("api_keys", column)
