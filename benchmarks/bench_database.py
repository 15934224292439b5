"""The database of a benchmark: tenants, endpoints, pending deliveries, and rates.

Large backlogs are written into the ledger directly: through the API it would take hours. All rates come from
the ledger's own times.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.errors import LockNotAvailable

from delivery.domain.ids import Prefix, build_min_id, format_id, new_id
from delivery.domain.secret_box import SecretBox, SecretKeys, build_secret_context
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from signing import generate_hmac
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

PAYLOAD_BYTES = 1_024
TRUNCATE_TIMEOUT_SECONDS = 30.0
# All tables but tenants and endpoints.
HISTORY_TABLES = (
    "events, deliveries, attempts, schedule, claims, journal, failures, endpoint_sequence, replays, "
    "replay_items"
)
QUEUE_TABLES = "schedule, claims, endpoint_health"

_RESET_HEALTH = """
    update endpoint_health
    set in_flight = 0, breaker = 'closed', breaker_since = now(), window_since = now(), consecutive = 0,
        requests = 0, failures = 0, earlier_requests = 0, earlier_failures = 0, openings = 0, probe_at = null,
        probe_id = null, limit_now = 10, limit_ramping = true, limit_credit = 0, limit_lowered_at = null,
        waits_until = null, rate_next_at = null, failing_since = null, failed = 0, warned = 0,
        last_failed_at = null, last_succeeded_at = null
"""
_RESET_SEQUENCES = "update endpoint_health set sequence = 0"
# As after some time of successes: the ramp is over.
_FINISH_RAMP = """
    update endpoint_health set limit_now = coalesce(in_flight_max, 50), limit_ramping = false from endpoints
    where endpoints.id = endpoint_id and url like %s
"""
_RELEASE_CLAIMS = "update schedule set claim_id = null where claim_id is not null"
_HAS_PENDING = """
    select exists (select from schedule join endpoints on endpoints.id = endpoint_id where url like %s)
"""
# Spread over the last ten minutes, and over the endpoints.
_STREAM = """
    with stream as (
        select n, to_timestamp(moment / 1000.0) as at,
               cast(lpad(to_hex(moment), 12, '0') || '70008' || lpad(to_hex(n), 15, '0') as uuid) as id,
               cast(lpad(to_hex(moment), 12, '0') || '70009' || lpad(to_hex(n), 15, '0') as uuid) as event_id,
               (%(tenants)s::uuid[])[1 + n %% %(spread)s] as tenant_id,
               (%(endpoints)s::uuid[])[1 + n %% %(spread)s] as endpoint_id,
               (%(types)s::text[])[1 + n %% %(spread)s] as type
        from (
            select n, %(until)s - 600000 + n * 600000 / %(count)s as moment
            from generate_series(1, cast(%(count)s as bigint)) as n
        ) as numbered
    )
"""
_INSERT_PENDING = (
    """
    insert into events (id, tenant_id, type, body, body_sha256, matched, created_at)
    select event_id, tenant_id, type, %(body)s, %(sha256)s, 1, at from stream
    """,
    """
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, created_at, matched_by)
    select id, tenant_id, event_id, endpoint_id, type, at, type from stream
    """,
    """
    insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
    select id, tenant_id, endpoint_id, event_id, at from stream
    """,
)
_COUNT_DELIVERED = "select count(*) from attempts where id >= %s and outcome = 'delivered'"
_RATE = """
    select min(started_at) as first, max(finished_at) as last, count(*) as count
    from attempts join deliveries on deliveries.id = attempts.delivery_id
    where attempts.id >= %s and attempts.outcome = 'delivered'
"""
# Of the first :limit deliveries, without the first and the last tenth.
_STEADY = """
    with ended as (
        select started_at + total_us * interval '1 microsecond' as at from attempts
        where id >= %s and outcome = 'delivered' order by 1 limit %s
    )
    select percentile_disc(0.1) within group (order by at) as first,
           percentile_disc(0.9) within group (order by at) as last, count(*) * 0.8 as count
    from ended
"""


@dataclass(frozen=True, slots=True)
class BenchEndpoint:
    """An endpoint, its tenant, and the type of event that it subscribes to."""

    tenant: UUID
    endpoint: UUID
    type: str

    @property
    def tenant_public_id(self) -> str:
        """The tenant's id in the API."""
        return format_id(Prefix.TENANT, self.tenant)


class BenchDatabase:
    """A migrated database with partitions, and a connection to it."""

    def __init__(self, url: str, secret_keys: str) -> None:
        """`secret_keys` are the engine's: it must decrypt the endpoints' secrets."""
        self.url = url
        self._box = SecretBox.from_keys(SecretKeys.parse(secret_keys))
        self.connection = connect(url)

    def make_partitions(self) -> None:
        """Create the partitions of the coming days, as a relay does."""
        make_partitions(self.url)

    def reconnect(self) -> None:
        """Replace a broken connection."""
        self.connection.close()
        self.connection = connect(self.url)

    def add_tenants(
        self, tenants: int, endpoints_each: int, url_of: Callable[[int, int], str]
    ) -> list[BenchEndpoint]:
        """Add tenants with endpoints; an endpoint of a kind subscribes to `order.e<kind>`."""
        owners = [new_id() for _ in range(tenants)]
        targets = [
            BenchEndpoint(owner, new_id(), f"order.e{kind}")
            for owner in owners
            for kind in range(endpoints_each)
        ]
        now, secret = datetime.now(UTC), generate_hmac(b"s" * 32)
        self._copy("tenants", "id, name, created_at", [(owner, "bench", now) for owner in owners])
        self._copy(
            "endpoints",
            "id, tenant_id, url, description, filter, state, state_changed_at, header_names, signature, "
            "created_at, updated_at",
            [
                (target.endpoint, target.tenant, url_of(*divmod(place, endpoints_each)), "", [target.type],
                 "active", now, [], "v1", now, now)
                for place, target in enumerate(targets)
            ],
        )  # fmt: skip
        self._copy(
            "endpoint_health",
            "endpoint_id, breaker_since, window_since, limit_now, limit_ramping",
            [(target.endpoint, now, now, 10, True) for target in targets],
        )
        plain = secret.reveal().encode()
        self._copy(
            "endpoint_secrets",
            "id, endpoint_id, tenant_id, signature, sealed, key_id, created_at",
            [
                (new_id(), target.endpoint, target.tenant, "v1",
                 self._box.seal(plain, context=build_secret_context(target.tenant, target.endpoint)),
                 secret.key_id, now)
                for target in targets
            ],
        )  # fmt: skip
        self.execute("vacuum analyze tenants, endpoints, endpoint_health, endpoint_secrets")
        return targets

    def add_pending(self, targets: Sequence[BenchEndpoint], count: int, size: int = PAYLOAD_BYTES) -> None:
        """Add pending deliveries, each with its own event and a body of this size."""
        # Random text, so that PostgreSQL does not compress large bodies to a few bytes.
        filler = f"{Random(size).getrandbits(4 * size):0{size}x}"  # noqa: S311  not a secret
        body = json.dumps({"type": "order.e0", "data": {"filler": filler}}).encode()
        values = {
            "tenants": [target.tenant for target in targets],
            "endpoints": [target.endpoint for target in targets],
            "types": [target.type for target in targets],
            "spread": len(targets),
            "count": count,
            "until": int(datetime.now(UTC).timestamp() * 1000),
            "body": body,
            "sha256": hashlib.sha256(body).digest(),
        }
        for statement in _INSERT_PENDING:
            self.execute(_STREAM + statement, values)
        self.execute("vacuum analyze events, deliveries, schedule")
        self.execute("checkpoint")

    def reset(self, full_speed_paths: str = "%") -> None:
        """Delete all history and reset health. Endpoints with `full_speed_paths` have finished their ramp."""
        self._truncate()
        self.execute(_RESET_SEQUENCES)
        self.reset_queue(full_speed_paths)

    def reset_queue(self, full_speed_paths: str = "%") -> None:
        """Release all claims and reset health; history and pending deliveries stay."""
        self.execute(_RELEASE_CLAIMS)
        self.execute("delete from claims")
        self.execute(_RESET_HEALTH)
        self.execute(_FINISH_RAMP, [full_speed_paths])
        self.execute(f"vacuum analyze {QUEUE_TABLES}")

    def has_pending(self, path: str = "") -> bool:
        """Whether deliveries are pending for endpoints with this in their URL."""
        if not path:
            return bool(self.fetch_row("select exists (select from schedule)")[0])
        return bool(self.fetch_row(_HAS_PENDING, f"%{path}%")[0])

    def count_delivered(self, since: datetime) -> int:
        """Count the successful attempts since this time."""
        return int(self.fetch_row(_COUNT_DELIVERED, build_min_id(since))[0])

    def compute_rate(self, since: datetime) -> float:
        """Deliveries per second, from the first attempt to the last success."""
        return self._rate(_RATE, build_min_id(since))

    def compute_steady_rate(self, since: datetime, count: int) -> float:
        """Deliveries per second among the first `count`, without their first and last tenth."""
        return self._rate(_STEADY, build_min_id(since), count)

    def execute(self, statement: str, values: Any = None) -> None:
        """Execute a statement."""
        self.connection.execute(statement.encode(), values)

    def fetch_row(self, query: str, *values: object) -> tuple[Any, ...]:
        """Fetch the first row of a query; raises LookupError without one."""
        row = self.connection.execute(query.encode(), values or None).fetchone()
        if row is None:
            raise LookupError(query)
        return row

    def _truncate(self) -> None:
        """Truncate with a short lock timeout, and retry: running relays hold locks, and must not deadlock."""
        until = time.monotonic() + TRUNCATE_TIMEOUT_SECONDS
        while True:
            try:
                with self.connection.transaction():
                    self.execute("set local lock_timeout = '200ms'")
                    self.execute(f"truncate {HISTORY_TABLES}")
            except LockNotAvailable:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def _rate(self, query: str, *values: object) -> float:
        first, last, count = self.fetch_row(query, *values)
        if not count:
            raise RuntimeError("Nothing was delivered.")
        return float(count) / float((last - first).total_seconds())

    def _copy(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        statement = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns.split(", ")))
        )
        with self.connection.cursor().copy(statement) as target:
            for row in rows:
                target.write_row(row)


def make_partitions(url: str) -> None:
    """Create the partitions of the coming days in a migrated database, as a relay does."""
    asyncio.run(_make_partitions(url))


async def _make_partitions(url: str) -> None:
    ledger = Ledger(url, pool_size=1, application_name="waybill bench")
    try:
        async with ledger.transaction() as tx:
            await partitions.ensure_partitions(tx, now=datetime.now(UTC))
    finally:
        await ledger.close()
