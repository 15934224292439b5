"""The ledger as it first was: history in daily partitions, the present in two small tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dns_us", sa.Integer(), nullable=True),
        sa.Column("connect_us", sa.Integer(), nullable=True),
        sa.Column("tls_us", sa.Integer(), nullable=True),
        sa.Column("first_byte_us", sa.Integer(), nullable=True),
        sa.Column("total_us", sa.Integer(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_headers", sa.JSON(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("key_ids", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("response_headers", sa.JSON(), nullable=False),
        sa.Column("response_body", sa.LargeBinary(), nullable=False),
        sa.Column("response_truncated", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("attempts_pkey")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(op.f("attempts_delivery_id_id_idx"), "attempts", ["delivery_id", "id"], unique=False)
    op.create_table(
        "claims",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("claims_pkey")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.0",
            "autovacuum_vacuum_threshold": "5000",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'succeeded', 'failed', 'cancelled')", name=op.f("deliveries_status_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("deliveries_pkey")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(op.f("deliveries_endpoint_id_id_idx"), "deliveries", ["endpoint_id", "id"], unique=False)
    op.create_index(op.f("deliveries_event_id_idx"), "deliveries", ["event_id"], unique=False)
    op.create_index(op.f("deliveries_tenant_id_id_idx"), "deliveries", ["tenant_id", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("matched", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pkey")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(op.f("events_tenant_id_id_idx"), "events", ["tenant_id", "id"], unique=False)
    op.create_table(
        "schedule",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("step", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("schedule_pkey")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.0",
            "autovacuum_vacuum_threshold": "5000",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index(
        "schedule_claimed_idx",
        "schedule",
        ["claim_id"],
        unique=False,
        postgresql_where=sa.text("claim_id is not null"),
    )
    op.create_index(
        "schedule_due_idx",
        "schedule",
        ["lane", "endpoint_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("claim_id is null"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("endpoints_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pkey")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("api_keys_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("key_sha256", name=op.f("api_keys_key_sha256_key")),
    )
    op.create_index(op.f("api_keys_tenant_id_idx"), "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("filter", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("state_actor", sa.Text(), nullable=True),
        sa.Column("state_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("header_names", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed_headers", sa.LargeBinary(), nullable=True),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("schedule_seconds", sa.ARRAY(sa.Double()), nullable=True),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("signature in ('v1', 'v1a')", name=op.f("endpoints_signature_check")),
        sa.CheckConstraint("state in ('active', 'paused', 'disabled')", name=op.f("endpoints_state_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("endpoints_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("endpoints_pkey")),
    )
    op.create_index(op.f("endpoints_tenant_id_id_idx"), "endpoints", ["tenant_id", "id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("idempotency_keys_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("idempotency_keys_pkey")),
    )
    op.create_index(op.f("idempotency_keys_created_at_idx"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "endpoint_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["endpoints.id"], name=op.f("endpoint_secrets_endpoint_id_fkey")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("endpoint_secrets_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("endpoint_secrets_pkey")),
    )
    op.create_index(
        op.f("endpoint_secrets_endpoint_id_idx"), "endpoint_secrets", ["endpoint_id"], unique=False
    )


def downgrade() -> None:
    """Drop every table, with its partitions."""
    op.drop_index(op.f("endpoint_secrets_endpoint_id_idx"), table_name="endpoint_secrets")
    op.drop_table("endpoint_secrets")
    op.drop_index(op.f("idempotency_keys_created_at_idx"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("endpoints_tenant_id_id_idx"), table_name="endpoints")
    op.drop_table("endpoints")
    op.drop_index(op.f("api_keys_tenant_id_idx"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("tenants")
    op.drop_index("schedule_due_idx", table_name="schedule", postgresql_where=sa.text("claim_id is null"))
    op.drop_index(
        "schedule_claimed_idx", table_name="schedule", postgresql_where=sa.text("claim_id is not null")
    )
    op.drop_table("schedule")
    op.drop_index(op.f("events_tenant_id_id_idx"), table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("deliveries_tenant_id_id_idx"), table_name="deliveries")
    op.drop_index(op.f("deliveries_event_id_idx"), table_name="deliveries")
    op.drop_index(op.f("deliveries_endpoint_id_id_idx"), table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_table("claims")
    op.drop_index(op.f("attempts_delivery_id_id_idx"), table_name="attempts")
    op.drop_table("attempts")
