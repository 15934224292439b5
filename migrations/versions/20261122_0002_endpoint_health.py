"""Each endpoint by itself: its health, limits of its own, and the journal of what happened to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BUSY = {
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
}


def upgrade() -> None:
    """Add what is new; columns come without a rewrite of their tables."""
    _make_journal()
    _make_endpoint_health()
    # Last, since from here on everybody waits.
    _add_columns()


def _add_columns() -> None:
    op.add_column("attempts", sa.Column("claimed_at", sa.DateTime(timezone=True)))
    op.add_column("deliveries", sa.Column("matched_by", sa.Text()))
    op.add_column("schedule", sa.Column("reopened_at", sa.DateTime(timezone=True)))
    for column in (
        sa.Column("operational", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("in_flight_max", sa.Integer()),
        sa.Column("rate_limit", sa.Integer()),
        sa.Column("rate_per_seconds", sa.Double()),
        sa.Column("breaker", sa.JSON()),
        sa.Column("disable_after_seconds", sa.Double()),
        sa.Column(
            "permanent_statuses", sa.ARRAY(sa.SmallInteger()), server_default=sa.text("'{}'"), nullable=False
        ),
    ):
        op.add_column("endpoints", column)


def _make_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("journal_pkey")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(op.f("journal_tenant_id_id_idx"), "journal", ["tenant_id", "id"])
    for subject in ("endpoint_id", "delivery_id"):
        op.create_index(
            op.f(f"journal_{subject}_id_idx"),
            "journal",
            [subject, "id"],
            postgresql_where=sa.text(f"{subject} is not null"),
        )


def _make_endpoint_health() -> None:
    op.create_table(
        "endpoint_health",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)
            for name in (
                "in_flight", "consecutive", "requests", "failures", "earlier_requests", "earlier_failures",
                "openings", "limit_credit", "failed",
            )
        ),
        sa.Column("breaker", sa.Text(), server_default=sa.text("'closed'"), nullable=False),
        sa.Column("breaker_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_since", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=True)
            for name in (
                "probe_at", "limit_lowered_at", "waits_until", "rate_next_at", "failing_since",
                "last_failed_at", "last_succeeded_at",
            )
        ),
        sa.Column("probe_id", sa.Uuid(), nullable=True),
        sa.Column("limit_now", sa.Integer(), nullable=False),
        sa.Column("limit_ramping", sa.Boolean(), nullable=False),
        sa.Column("warned", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("endpoint_health_pkey")),
        sa.CheckConstraint(
            "breaker in ('closed', 'open', 'half_open')", name=op.f("endpoint_health_breaker_check")
        ),
        postgresql_with={**_BUSY, "fillfactor": "50"},
    )  # fmt: skip
    op.execute("""
        insert into endpoint_health
            (endpoint_id, in_flight, breaker_since, window_since, limit_now, limit_ramping)
        select e.id, coalesce(claimed.count, 0), now(), now(), 10, true
        from endpoints e
        left join (
            select endpoint_id, count(*) as count from schedule
            where claim_id is not null group by endpoint_id
        ) as claimed on claimed.endpoint_id = e.id
    """)


def downgrade() -> None:
    """Take it all away again."""
    op.drop_table("endpoint_health")
    op.drop_table("journal")
    for column in (
        "operational", "in_flight_max", "rate_limit", "rate_per_seconds", "breaker", "disable_after_seconds",
        "permanent_statuses",
    ):  # fmt: skip
        op.drop_column("endpoints", column)
    op.drop_column("schedule", "reopened_at")
    op.drop_column("deliveries", "matched_by")
    op.drop_column("attempts", "claimed_at")
