"""A ledger with a history: millions of deliveries, written with COPY into the daily partitions.

Two processes write, each for half of every tenant's endpoints. A few tenants, endpoints and types have most
deliveries, as in production. Random numbers are seeded, so that every run builds the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import sql

from delivery.domain.ids import TenantId
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

DAYS = 10
TENANTS, ENDPOINTS_EACH, WRITER_COUNT = 200, 10, 2
PENDING, PENDING_DAYS = 20_000, 2
JOURNAL = 200_000

VERBS = ("created", "updated", "paid", "cancelled", "deleted")
NOUNS = ("order", "invoice", "customer", "shipment", "refund", "product", "cart", "payout")
TYPES = tuple(f"{noun}.{verb}" for noun in NOUNS for verb in VERBS)
RARE_TYPE = "report.exported"
ACTORS = tuple(f"person-{n}@example.com" for n in range(50))
ACTIONS = (
    "endpoint.paused",
    "endpoint.resumed",
    "delivery.replayed",
    "endpoint.secret_rotated",
    "key.created",
)

COLUMNS = {
    "tenants": "id, name, created_at",
    "endpoints": "id, tenant_id, url, description, filter, state, state_changed_at, header_names, signature, "
    "created_at, updated_at",
    "endpoint_health": "endpoint_id, in_flight, breaker, breaker_since, window_since, openings, probe_at, "
    "limit_now, limit_ramping, sequence",
    "claims": "id, lane, size, remaining, created_at, lease_until, started_at, worker",
    "schedule": "delivery_id, tenant_id, endpoint_id, event_id, due_at, attempts, step, claim_id, outcome, "
    "http_status, sequence",
    "events": "id, tenant_id, type, body, body_sha256, matched, created_at, idempotency_key",
    "deliveries": "id, tenant_id, event_id, endpoint_id, event_type, matched_by, status, reason, attempts, "
    "created_at, finished_at, outcome, http_status, sequence",
    "attempts": "id, delivery_id, tenant_id, endpoint_id, event_id, number, claimed_at, started_at, "
    "connect_us, first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids, status, "
    "response_headers, response_body, response_truncated, outcome, detail, decision, reason, worker",
    "failures": "delivery_id, tenant_id, endpoint_id",
    "endpoint_sequence": "endpoint_id, sequence, delivery_id",
    "journal": "id, tenant_id, endpoint_id, at, what, actor, reason, details, address",
}
UNPARTITIONED_TABLES = ("tenants", "endpoints", "endpoint_health", "claims", "schedule")
NULL = "\\N"


@dataclass(frozen=True, slots=True)
class HistoryEndpoint:
    """An endpoint, its tenant and its state: `active`, `paused` or `broken` (its breaker is open)."""

    tenant: str
    id: str
    state: str


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """Tenants, endpoints, number of deliveries, and the end of the history."""

    rows: int
    now: datetime
    seed: int
    endpoints_by_tenant: tuple[tuple[HistoryEndpoint, ...], ...]  # by tenant
    pending: int  # number of unfinished deliveries

    @classmethod
    def make(cls, rows: int, now: datetime, seed: int, *, pending: int | None = None) -> HistoryPlan:
        """Make up tenants and endpoints: one endpoint in fifty is paused, one in a hundred is broken.

        By default one delivery in a hundred is pending, at most 20,000.
        """
        rng = Random(seed)  # noqa: S311  not a secret
        born = to_milliseconds(get_midnight(now.date() - timedelta(days=DAYS)))
        targets = []
        for number in range(TENANTS):
            tenant = make_id_at(born + number, 0, rng)
            ids = [make_id_at(born + TENANTS + number, place, rng) for place in range(ENDPOINTS_EACH)]
            states = ["active"] * (ENDPOINTS_EACH - 4) + _assign_states(number)
            targets.append(tuple(map(HistoryEndpoint, [tenant] * ENDPOINTS_EACH, ids, states)))
        owed = min(PENDING, rows // 100) if pending is None else pending
        return cls(rows, now, seed, tuple(targets), owed)

    @property
    def tenants(self) -> list[TenantId]:
        """The tenants, the busiest first."""
        return [
            TenantId(UUID(endpoints_of_tenant[0].tenant)) for endpoints_of_tenant in self.endpoints_by_tenant
        ]

    @property
    def days(self) -> list[date]:
        """The days with deliveries, the oldest first."""
        today = self.now.date()
        return [today - timedelta(days=back) for back in reversed(range(DAYS))]

    def list_endpoints_in_state(self, state: str, writer: int) -> list[HistoryEndpoint]:
        """The endpoints of one writer in this state."""
        return [
            endpoint
            for endpoints_of_tenant in self.endpoints_by_tenant
            for endpoint in endpoints_of_tenant[writer::WRITER_COUNT]
            if endpoint.state == state
        ]


def write_owners(url: str, plan: HistoryPlan) -> None:
    """Write the tenants and their endpoints."""
    born = format_milliseconds(to_milliseconds(get_midnight(plan.days[0])))
    tenants = [
        format_line(endpoints_of_tenant[0].tenant, f"tenant {n}", born)
        for n, endpoints_of_tenant in enumerate(plan.endpoints_by_tenant)
    ]
    endpoints = [
        format_line(
            endpoint.id, endpoint.tenant, "https://hooks.example.com/in", "", "{*}",
            "paused" if endpoint.state == "paused" else "active", born, "{}", "v1", born, born,
        )
        for endpoints_of_tenant in plan.endpoints_by_tenant
        for endpoint in endpoints_of_tenant
    ]  # fmt: skip
    with connect(url) as database:
        copy_lines(database, "tenants", tenants)
        copy_lines(database, "endpoints", endpoints)


def write_health(
    url: str, plan: HistoryPlan, numbers: Mapping[str, int], in_flight: Mapping[str, int]
) -> None:
    """Write the endpoints' health, last sequence numbers and deliveries in flight."""
    now, later = plan.now.isoformat(), (plan.now + timedelta(hours=1)).isoformat()
    lines = []
    for endpoint in (
        endpoint for endpoints_of_tenant in plan.endpoints_by_tenant for endpoint in endpoints_of_tenant
    ):
        broken = endpoint.state == "broken"
        state = ("open", now, now, 1, later) if broken else ("closed", now, now, 0, NULL)
        lines.append(
            format_line(
                endpoint.id, in_flight.get(endpoint.id, 0), *state, 50, "f", numbers.get(endpoint.id, 0)
            )
        )
    with connect(url) as database:
        copy_lines(database, "endpoint_health", lines)


def write_journal(url: str, plan: HistoryPlan) -> None:
    """Write journal entries: one in ten by users, the others by the engine."""
    rng = Random(plan.seed)  # noqa: S311  not a secret
    a_day = min(JOURNAL, plan.rows) // DAYS
    with connect(url) as database:
        for day in plan.days:
            start = to_milliseconds(get_midnight(day))
            end = min(start + 86_390_000, max(to_milliseconds(plan.now), start + 60_000))
            lines = []
            for number in range(a_day):
                moment = start + (end - start) * number // a_day
                endpoint = rng.choice(plan.endpoints_by_tenant[int(TENANTS * rng.random() ** 3)])
                entry = ("endpoint.breaker_opened", "waybill", NULL, "{}", NULL)
                if number % 10 == 0:
                    entry = (rng.choice(ACTIONS), rng.choice(ACTORS), "asked for", "{}", "198.51.100.4")
                lines.append(
                    format_line(
                        make_id_at(moment, number, rng),
                        endpoint.tenant,
                        endpoint.id,
                        format_milliseconds(moment),
                        *entry,
                    )
                )
            copy_lines(database, "journal", lines, day)


def copy_lines(database: Connection, table: str, lines: list[str], day: date | None = None) -> None:
    """Copy lines into a table, or into the partition of a day."""
    name = table if day is None or table in UNPARTITIONED_TABLES else f"{table}_{day:%Y%m%d}"
    statement = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split(", ")))
    )
    with database.cursor().copy(statement) as target:
        target.write("".join(lines))


def make_id_at(moment: int, number: int, rng: Random) -> str:
    """A UUIDv7 of this millisecond in hex; within a millisecond ordered by number."""
    return f"{moment:012x}7{number & 0xFFF:03x}8{rng.getrandbits(60):015x}"


def _assign_states(number: int) -> list[str]:
    """The states of a tenant's last four endpoints: each writer gets one of each kind."""
    paused = ["paused"] * 2 if number % 10 == 0 else ["active"] * 2
    broken = ["broken"] * 2 if number % 20 == 5 else ["active"] * 2  # noqa: PLR2004  one tenant in twenty
    return broken + paused


def format_line(*values: Any) -> str:
    """Format a row for COPY."""
    return "\t".join(map(str, values)) + "\n"


def get_midnight(day: date) -> datetime:
    """The start of a day."""
    return datetime.combine(day, time(), tzinfo=UTC)


def to_milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, as in ids."""
    return int(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int) -> datetime:
    """The time of these milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def format_milliseconds(milliseconds: int) -> str:
    """Format milliseconds for COPY."""
    return from_milliseconds(milliseconds).isoformat()
