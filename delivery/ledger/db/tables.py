"""The ledger's tables. A test compares them with the result of the migrations.

`events`, `deliveries`, `attempts` and `journal` are history: partitioned by day of their UUIDv7 id, mostly
written once. So are `failures` and `endpoint_sequence`: they find deliveries by their end, and by their
sequence number. `schedule`, `claims` and `endpoint_health` are the present:
one row per unfinished delivery, per batch in work, per endpoint. They stay small however large the history
is, and a claim reads nothing else. `replays` and `replay_items` are replay jobs. `figures` has counts of
attempts, for pages. `people`, `sessions`, `portal_links` and `sign_in_failures` are for the console's users.
`refused_messages` are dead letters from RabbitMQ.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

PARTITIONED_TABLES = ("events", "deliveries", "attempts", "journal", "failures", "endpoint_sequence")


def _timestamp_column(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    # Changes with every change of the tenant's endpoints, so that intake can cache filters and
    # still match in its own transaction.
    Column("endpoints_version", BigInteger, nullable=False, server_default=text("0")),
    # Days by kind of data, if fewer than the operator's.
    Column("retention", JSON(none_as_null=True)),
    _timestamp_column("created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("key_sha256", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{publish,manage,read,replay}'")),
    # Null: the operator's limit for every key.
    Column("requests_per_second", Integer),
    _timestamp_column("created_at"),
    _timestamp_column("expires_at", nullable=True),
    _timestamp_column("revoked_at", nullable=True),
    # Exact to about a minute: it is written seldom, outside the request.
    _timestamp_column("last_used_at", nullable=True),
    # The key that replaced it when it was rotated.
    Column("replaced_by", Uuid),
    CheckConstraint(
        "cardinality(scopes) > 0 and scopes <@ array['publish', 'manage', 'read', 'replay']", name="scopes"
    ),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("filter", ARRAY(Text), nullable=False),
    # In addition to types: events that share a channel, events that meet the condition. Null: all.
    Column("channels", ARRAY(Text)),
    Column("condition", Text),
    Column("state", Text, nullable=False),
    Column("state_reason", Text),
    Column("state_actor", Text),
    _timestamp_column("state_changed_at"),
    # Custom headers often carry a receiver's token: names are readable, values are encrypted.
    Column("header_names", ARRAY(Text), nullable=False),
    Column("sealed_headers", LargeBinary),
    # How the engine authenticates: the part that may be shown, and all of it, encrypted.
    Column("auth", JSON(none_as_null=True)),
    Column("sealed_auth", LargeBinary),
    Column("client_certificate", JSON(none_as_null=True)),
    Column("sealed_identity", LargeBinary),
    # Null: the default, from before there was a choice.
    Column("format", Text),
    Column("payload", Text),
    Column("signature", Text, nullable=False),
    Column("schedule_seconds", ARRAY(Double)),
    Column("timeout_seconds", Double),
    # It gets the engine's own events for its tenant, and none of the tenant's events.
    Column("operational", Boolean, nullable=False, server_default=text("false")),
    # The endpoint's own limits; null: the operator's default.
    Column("in_flight_max", Integer),
    Column("rate_limit", Integer),
    Column("rate_per_seconds", Double),
    Column("breaker", JSON(none_as_null=True)),
    Column("disable_after_seconds", Double),
    Column("permanent_statuses", ARRAY(SmallInteger), nullable=False, server_default=text("'{}'")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    _timestamp_column("created_at"),
    _timestamp_column("updated_at"),
    _timestamp_column("deleted_at", nullable=True),
    CheckConstraint("state in ('active', 'paused', 'disabled')", name="state"),
    CheckConstraint("signature in ('v1', 'v1a')", name="signature"),
    Index(None, "tenant_id", "id"),
)

endpoint_secrets = Table(
    "endpoint_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", ForeignKey("endpoints.id"), nullable=False, index=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("signature", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public_key", Text),
    _timestamp_column("created_at"),
    _timestamp_column("not_after", nullable=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    _timestamp_column("created_at"),
    Index(None, "created_at"),
)

# No foreign keys from here on: these tables take every write of the hot path, and partitions come and go.
events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary),  # null: erased or expired
    Column("body_sha256", LargeBinary, nullable=False),
    Column("matched", Integer, nullable=False),
    _timestamp_column("created_at"),
    Column("idempotency_key", Text),
    _timestamp_column("erased_at", nullable=True),
    Column("traceparent", Text),  # the producer's trace, if tracing is on
    Column("channels", ARRAY(Text)),  # given by the producer
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "idempotency_key", postgresql_where=text("idempotency_key is not null")),
    postgresql_partition_by="RANGE (id)",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event_type", Text, nullable=False),
    # The pattern of the endpoint's filter that matched; null: it was sent to this endpoint by name.
    Column("matched_by", Text),
    # Why the endpoint's condition could not be evaluated; the event was sent anyway.
    Column("condition_failed", Text),
    # 'pending' until final; `schedule` knows whether it is in flight. No index may name this column, so
    # that the one update of a delivery's life stays within its page (heap-only).
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _timestamp_column("created_at"),
    _timestamp_column("finished_at", nullable=True),
    # The last attempt's outcome and the endpoint's sequence number: while it is pending,
    # `schedule` has them.
    Column("outcome", Text),
    Column("http_status", SmallInteger),
    Column("sequence", BigInteger),
    CheckConstraint("status in ('pending', 'succeeded', 'failed', 'cancelled')", name="status"),
    Index(None, "tenant_id", "id"),
    Index(None, "endpoint_id", "id"),
    Index(None, "event_id"),
    postgresql_partition_by="RANGE (id)",
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("delivery_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    _timestamp_column("claimed_at", nullable=True),
    _timestamp_column("started_at"),
    Column("dns_us", Integer),
    Column("connect_us", Integer),
    Column("tls_us", Integer),
    Column("first_byte_us", Integer),
    Column("total_us", Integer),
    Column("url", Text, nullable=False),
    Column("address", Text),
    # json, not jsonb: headers keep their order on the wire.
    Column("request_headers", JSON, nullable=False),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("key_ids", Text, nullable=False),
    Column("status", SmallInteger),
    Column("response_headers", JSON, nullable=False),
    Column("response_body", LargeBinary, nullable=False),
    Column("response_truncated", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp_column("next_due_at", nullable=True),
    Column("worker", Text, nullable=False),
    _timestamp_column("erased_at", nullable=True),
    Index(None, "delivery_id", "id"),
    Index(None, "endpoint_id", "id"),
    postgresql_partition_by="RANGE (id)",
)

# Events of endpoints and deliveries other than attempts: who paused, which breaker opened until when.
journal = Table(
    "journal",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid),
    Column("delivery_id", Uuid),
    _timestamp_column("at"),
    Column("what", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
    Column("details", JSON, nullable=False),
    Column("address", Text),  # of a user or a key
    Index(None, "tenant_id", "id"),
    Index("journal_audit_idx", "id", postgresql_where=text("actor <> 'waybill'")),
    Index(None, "endpoint_id", "id", postgresql_where=text("endpoint_id is not null")),
    Index(None, "delivery_id", "id", postgresql_where=text("delivery_id is not null")),
    postgresql_partition_by="RANGE (id)",
)

# Deliveries that ended badly, written by a trigger on `deliveries`, so that search finds them among
# millions without an index that names a status.
failures = Table(
    "failures",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Index(None, "tenant_id", "delivery_id"),
    Index(None, "endpoint_id", "delivery_id"),
    postgresql_partition_by="RANGE (delivery_id)",
)

# An endpoint's deliveries, numbered without a gap at the first claim. One key is enough: the
# claim holds the endpoint's health row, so numbers are assigned one at a time.
endpoint_sequence = Table(
    "endpoint_sequence",
    metadata,
    Column("endpoint_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("delivery_id", Uuid, nullable=False),
    Index(None, "endpoint_id", "sequence"),
    postgresql_partition_by="RANGE (delivery_id)",
)

# A queue in a table lives or dies by vacuum: after a fixed number of dead rows, at full speed.
_BUSY_TABLE_OPTIONS = {
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
}

schedule = Table(
    "schedule",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("lane", SmallInteger, nullable=False, server_default=text("0")),
    _timestamp_column("due_at"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # made so far, in all runs
    Column(
        "step", Integer, nullable=False, server_default=text("0")
    ),  # used in this run of the retry schedule
    Column("claim_id", Uuid),
    # When its age starts; null: its creation, which its id tells.
    _timestamp_column("reopened_at", nullable=True),
    Column("outcome", Text),  # of its last attempt
    Column("http_status", SmallInteger),
    Column("sequence", BigInteger),  # null: never claimed
    Index("schedule_due_idx", "lane", "endpoint_id", "due_at", postgresql_where=text("claim_id is null")),
    Index("schedule_claimed_idx", "claim_id", postgresql_where=text("claim_id is not null")),
    postgresql_with=_BUSY_TABLE_OPTIONS,
)

claims = Table(
    "claims",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("lane", SmallInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    _timestamp_column("created_at"),
    _timestamp_column("lease_until"),
    _timestamp_column("started_at", nullable=True),
    Column("worker", Text),
    postgresql_with=_BUSY_TABLE_OPTIONS,
)

# One row per endpoint, changed with every group of attempts and every claim: `in_flight` counts the rows of
# `schedule` that a claim has. No index but the key, and room in the page, so that each change stays there.
endpoint_health = Table(
    "endpoint_health",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("in_flight", Integer, nullable=False, server_default=text("0")),
    Column("breaker", Text, nullable=False, server_default=text("'closed'")),
    _timestamp_column("breaker_since"),
    _timestamp_column("window_since"),
    Column("consecutive", Integer, nullable=False, server_default=text("0")),
    Column("requests", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("earlier_requests", Integer, nullable=False, server_default=text("0")),
    Column("earlier_failures", Integer, nullable=False, server_default=text("0")),
    Column("openings", Integer, nullable=False, server_default=text("0")),
    _timestamp_column("probe_at", nullable=True),
    Column("probe_id", Uuid),  # the delivery that is the probe, while in flight
    Column("limit_now", Integer, nullable=False),
    Column("limit_ramping", Boolean, nullable=False),
    Column("limit_credit", Integer, nullable=False, server_default=text("0")),
    _timestamp_column("limit_lowered_at", nullable=True),
    _timestamp_column("waits_until", nullable=True),
    _timestamp_column("rate_next_at", nullable=True),
    _timestamp_column("failing_since", nullable=True),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("warned", SmallInteger, nullable=False, server_default=text("0")),
    _timestamp_column("last_failed_at", nullable=True),
    _timestamp_column("last_succeeded_at", nullable=True),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),  # the last number assigned
    CheckConstraint("breaker in ('closed', 'open', 'half_open')", name="breaker"),
    postgresql_with={**_BUSY_TABLE_OPTIONS, "fillfactor": "50"},
)

# A replay job: selection, actor, progress. `counts` follow its items exactly: whatever
# moves an item holds this row.
replays = Table(
    "replays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("selection", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("address", Text),
    Column("hold", Boolean, nullable=False),
    Column("rate", Double),  # deliveries per second; null: unlimited
    Column("state", Text, nullable=False),
    # Where the selection continues; null and not yet selected: at its beginning.
    Column("cursor", Uuid),
    _timestamp_column("selected_at", nullable=True),
    Column("counts", JSON, nullable=False),
    Column("per_second", Double),
    _timestamp_column("counted_at"),
    _timestamp_column("paced_at"),
    # The last endpoint of the last step, and of its check of items.
    Column("after_endpoint", Uuid),
    Column("retry_endpoint", Uuid),
    Column("retry_delivery", Uuid),
    _timestamp_column("next_at", nullable=True),  # null: there is nothing more to do
    _timestamp_column("created_at"),
    _timestamp_column("finished_at", nullable=True),
    CheckConstraint("kind in ('again', 'missing')", name="kind"),
    CheckConstraint("state in ('running', 'paused', 'cancelling', 'cancelled', 'finished')", name="state"),
    Index(None, "tenant_id", "id"),
    Index("replays_due_idx", "next_at", postgresql_where=text("next_at is not null")),
)

# One delivery of a replay job; `was_*` is its state before, so that unsent deliveries can be recalled.
# A missing event has no delivery until its turn comes: its event's id stands in for it.
replay_items = Table(
    "replay_items",
    metadata,
    Column("replay_id", ForeignKey("replays.id"), primary_key=True),
    Column("delivery_id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("why", Text),
    Column("attempts", Integer),  # made before it was queued
    Column("was_status", Text),
    Column("was_reason", Text),
    _timestamp_column("was_finished_at", nullable=True),
    _timestamp_column("was_due_at", nullable=True),
    _timestamp_column("queued_at", nullable=True),
    _timestamp_column("changed_at", nullable=True),
    CheckConstraint(
        "state in ('waiting', 'queued', 'retrying', 'succeeded', 'failed', 'cancelled', 'skipped')",
        name="state",
    ),
    Index(None, "delivery_id"),
    Index(None, "replay_id", "state", "endpoint_id", "delivery_id"),
    # A queue too: each item is updated two or three times, and waiting items are read from the first on.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"},
)

# Attempts counted by minute (width 60) and hour (3600); the nil id counts all tenants together. Both columns
# are objects of counts: by outcome, and by slot of `delivery.histogram`.
figures = Table(
    "figures",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("width", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("outcomes", JSONB, nullable=False),
    Column("latencies", JSONB, nullable=False),
    Index(None, "width", "at"),
)

# The rollup's progress: one row, locked while counting.
figures_progress = Table(
    "figures_progress",
    metadata,
    Column("id", SmallInteger, primary_key=True, server_default=text("1")),
    _timestamp_column("seen_until"),
    _timestamp_column("settled_until"),
    _timestamp_column("summed_until"),
    _timestamp_column("back_to"),
    CheckConstraint("id = 1", name="one"),
)

# Users of the console. E-mail addresses are in lower case, one account each.
people = Table(
    "people",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password_hash", Text),  # null: they sign in another way
    _timestamp_column("created_at"),
    _timestamp_column("disabled_at", nullable=True),
    CheckConstraint("role in ('viewer', 'support', 'admin')", name="role"),
)

# Links that give a partner access to its tenant. Only hashes of tokens are stored, here and below.
portal_links = Table(
    "portal_links",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("key_id", ForeignKey("api_keys.id")),  # null: created by the operator
    Column("role", Text, nullable=False),
    Column("label", Text),
    Column("made_by", Text, nullable=False),
    Column("token_sha256", LargeBinary, nullable=False, unique=True),
    _timestamp_column("created_at"),
    _timestamp_column("expires_at"),
    CheckConstraint("role in ('viewer', 'support')", name="role"),
    Index(None, "expires_at"),
)

# Open sessions, of a user or of a portal link. They end with their user or link.
sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), index=True),
    Column("link_id", ForeignKey("portal_links.id", ondelete="CASCADE"), index=True),
    Column("address", Text),
    _timestamp_column("created_at"),
    _timestamp_column("expires_at"),
    CheckConstraint("(person_id is null) <> (link_id is null)", name="whose"),
    Index(None, "expires_at"),
)

# Failed sign-ins by a hash of the account, the address, or both: the text that was typed may
# have been a password.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    _timestamp_column("last_at"),
    Index(None, "last_at"),
)

# Dead letters of the ingest queue, until they are retried or discarded. The key that a
# message carried is not stored: its hash is part of the fingerprint that identifies a repeated message.
refused_messages = Table(
    "refused_messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id")),  # null: unknown, from its key
    Column("key_id", Uuid),
    Column("message_id", Text),
    Column("publisher", Text),
    Column("body", LargeBinary, nullable=False),  # or its beginning
    Column("size", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False, unique=True),
    Column("times", Integer, nullable=False, server_default=text("1")),
    _timestamp_column("first_at"),
    _timestamp_column("last_at"),
    Index(None, "last_at"),
)

# The catalogue of event types: the operator's, the same for every tenant. An archived type stays, with its
# versions, to explain old events.
event_types = Table(
    "event_types",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("validation", Text, nullable=False, server_default=text("'off'")),
    Column("version", Integer, nullable=False),  # the newest, which applies
    _timestamp_column("created_at"),
    _timestamp_column("changed_at"),
    _timestamp_column("deprecated_at", nullable=True),
    _timestamp_column("deprecated_until", nullable=True),
    Column("replaced_by", Text),
    _timestamp_column("archived_at", nullable=True),
    CheckConstraint("validation in ('off', 'reject')", name="validation"),
)

# A version of a type's `data`: a JSON Schema and a list of examples, as JSON texts, so
# that they are returned as they were written. Append-only.
event_type_versions = Table(
    "event_type_versions",
    metadata,
    Column("name", ForeignKey("event_types.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("schema", Text),  # null: only described
    Column("examples", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    _timestamp_column("created_at"),
)

# The number of changes of the catalogue: one row, locked during a change. Processes check whether they are
# behind.
catalogue = Table(
    "catalogue",
    metadata,
    Column("id", SmallInteger, primary_key=True, server_default=text("1")),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("id = 1", name="one"),
)
