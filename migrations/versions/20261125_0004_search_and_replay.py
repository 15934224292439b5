"""The ledger answers and replays: what finds deliveries, replay jobs, numbers for partners, retention."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.online import build_index, execute_without_timeout, list_partitions

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Whichever process ends a delivery or reopens it, of this release or the one before: `failures` agrees.
_KEEP_FAILURES = """
    create function keep_failures() returns trigger language plpgsql as $$
    begin
        if new.status in ('failed', 'cancelled') then
            insert into failures (delivery_id, tenant_id, endpoint_id)
            values (new.id, new.tenant_id, new.endpoint_id) on conflict do nothing;
        else
            delete from failures where delivery_id = new.id;
        end if;
        return null;
    end $$
"""
_FAILURES_TRIGGER = """
    create trigger keep_failures after update of status on deliveries for each row
    when (new.status is distinct from old.status
          and (new.status in ('failed', 'cancelled') or old.status in ('failed', 'cancelled')))
    execute function keep_failures()
"""
_BACKFILL = """
    insert into failures (delivery_id, tenant_id, endpoint_id)
    select id, tenant_id, endpoint_id from {partition} where status in ('failed', 'cancelled')
    on conflict do nothing
"""
_ONLY_APPEND = """
    create function journal_only_appends() returns trigger language plpgsql as $$
    begin raise exception 'the journal is append-only'; end $$
"""
_JOURNAL_TRIGGER = """
    create trigger only_appends before update or delete on journal for each row
    execute function journal_only_appends()
"""


def upgrade() -> None:
    """Add what is new, in the order in which live traffic notices it least."""
    _make_replays()
    _make_failures()
    _make_endpoint_sequence()
    op.execute(_KEEP_FAILURES)
    op.execute(_ONLY_APPEND)
    for table in ("failures", "endpoint_sequence"):
        _make_partitions_as_of("deliveries", table)
    _add_columns()
    op.execute(_FAILURES_TRIGGER)
    op.execute(_JOURNAL_TRIGGER)
    with op.get_context().autocommit_block():
        build_index(
            "events_tenant_id_idempotency_key_idx", "events", "tenant_id, idempotency_key",
            where="where idempotency_key is not null",
        )  # fmt: skip
        build_index("journal_audit_idx", "journal", "id", where="where actor <> 'waybill'")
        for partition in list_partitions("deliveries"):
            execute_without_timeout(_BACKFILL.format(partition=partition))


def _make_failures() -> None:
    op.create_table(
        "failures",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("failures_pkey")),
        postgresql_partition_by="RANGE (delivery_id)",
    )
    op.create_index("failures_tenant_id_delivery_id_idx", "failures", ["tenant_id", "delivery_id"])
    op.create_index("failures_endpoint_id_delivery_id_idx", "failures", ["endpoint_id", "delivery_id"])


def _make_endpoint_sequence() -> None:
    op.create_table(
        "endpoint_sequence",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        postgresql_partition_by="RANGE (delivery_id)",
    )
    op.create_index(
        "endpoint_sequence_endpoint_id_sequence_idx", "endpoint_sequence", ["endpoint_id", "sequence"]
    )


def _make_partitions_as_of(model: str, table: str) -> None:
    """Days that have deliveries have a place for what is known of them: the trigger must find one."""
    bounds = sa.text(
        "select pg_get_expr(relpartbound, oid) from pg_class where oid = cast(:name as regclass)"
    )
    for partition in list_partitions(model):
        bound = op.get_bind().execute(bounds, {"name": partition}).scalar_one()
        name = partition.replace(model, table, 1)
        op.execute(f"create table {name} partition of {table} {bound}")


def _add_columns() -> None:
    moment = sa.DateTime(timezone=True)
    for table, column in (
        ("tenants", sa.Column("retention", sa.JSON())),
        ("events", sa.Column("idempotency_key", sa.Text())),
        ("events", sa.Column("erased_at", moment)),
        ("deliveries", sa.Column("outcome", sa.Text())),
        ("deliveries", sa.Column("http_status", sa.SmallInteger())),
        ("deliveries", sa.Column("sequence", sa.BigInteger())),
        ("attempts", sa.Column("erased_at", moment)),
        ("journal", sa.Column("address", sa.Text())),
        ("schedule", sa.Column("outcome", sa.Text())),
        ("schedule", sa.Column("http_status", sa.SmallInteger())),
        ("schedule", sa.Column("sequence", sa.BigInteger())),
        (
            "endpoint_health",
            sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        ),
    ):
        op.add_column(table, column)
    op.alter_column("events", "body", nullable=True)


def _make_replays() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "replays",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("hold", sa.Boolean(), nullable=False),
        sa.Column("rate", sa.Double()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Uuid()),
        sa.Column("selected_at", moment),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("per_second", sa.Double()),
        sa.Column("counted_at", moment, nullable=False),
        sa.Column("paced_at", moment, nullable=False),
        sa.Column("after_endpoint", sa.Uuid()),
        sa.Column("retry_endpoint", sa.Uuid()),
        sa.Column("retry_delivery", sa.Uuid()),
        sa.Column("next_at", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        sa.CheckConstraint("kind in ('again', 'missing')", name=op.f("replays_kind_check")),
        sa.CheckConstraint(
            "state in ('running', 'paused', 'cancelling', 'cancelled', 'finished')",
            name=op.f("replays_state_check"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("replays_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("replays_pkey")),
    )
    op.create_index("replays_tenant_id_id_idx", "replays", ["tenant_id", "id"])
    op.create_index(
        "replays_due_idx", "replays", ["next_at"], postgresql_where=sa.text("next_at is not null")
    )
    op.create_table(
        "replay_items",
        sa.Column("replay_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("why", sa.Text()),
        sa.Column("attempts", sa.Integer()),
        sa.Column("was_status", sa.Text()),
        sa.Column("was_reason", sa.Text()),
        sa.Column("was_finished_at", moment),
        sa.Column("was_due_at", moment),
        sa.Column("queued_at", moment),
        sa.Column("changed_at", moment),
        sa.CheckConstraint(
            "state in ('waiting', 'queued', 'retrying', 'succeeded', 'failed', 'cancelled', 'skipped')",
            name=op.f("replay_items_state_check"),
        ),
        sa.ForeignKeyConstraint(["replay_id"], ["replays.id"], name=op.f("replay_items_replay_id_fkey")),
        sa.PrimaryKeyConstraint("replay_id", "delivery_id", name=op.f("replay_items_pkey")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"},
    )
    op.create_index("replay_items_delivery_id_idx", "replay_items", ["delivery_id"])
    op.create_index(
        "replay_items_replay_id_state_endpoint_id_delivery_id_idx",
        "replay_items",
        ["replay_id", "state", "endpoint_id", "delivery_id"],
    )


def downgrade() -> None:
    """Take it all away again."""
    op.execute("drop trigger only_appends on journal")
    op.execute("drop trigger keep_failures on deliveries")
    for function in ("keep_failures", "journal_only_appends"):
        op.execute(f"drop function {function}")
    for table in ("replay_items", "replays", "endpoint_sequence", "failures"):
        op.drop_table(table)
    op.drop_index("journal_audit_idx", table_name="journal")
    op.drop_index("events_tenant_id_idempotency_key_idx", table_name="events")
    op.execute("update events set body = '' where body is null")
    op.alter_column("events", "body", nullable=False)
    op.drop_column("endpoint_health", "sequence")
    op.drop_column("tenants", "retention")
    op.drop_column("journal", "address")
    op.drop_column("attempts", "erased_at")
    for column in ("idempotency_key", "erased_at"):
        op.drop_column("events", column)
    for table in ("schedule", "deliveries"):
        for column in ("outcome", "http_status", "sequence"):
            op.drop_column(table, column)
