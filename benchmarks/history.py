"""A ledger with a history: millions of deliveries, written with COPY straight into the partitions of days.

Two processes write, each what goes to its half of every tenant's endpoints. Tenants, endpoints and types have
shares as in life: a few have most. All dice are seeded, so that every run builds the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random  # noqa: TID251  a benchmark brings its own dice, with a seed
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
    """An endpoint, whose it is and how it stands: `active`, `paused` or `broken` (its breaker is open)."""

    tenant: str
    id: str
    state: str


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """Who there is, how much there will be, and until when."""

    rows: int
    now: datetime
    seed: int
    endpoints_by_tenant: tuple[tuple[HistoryEndpoint, ...], ...]  # by tenant
    pending: int  # how many deliveries are not over

    @classmethod
    def make(cls, rows: int, now: datetime, seed: int, *, pending: int | None = None) -> HistoryPlan:
        """Invent tenants and endpoints: one endpoint in fifty is paused, one in a hundred is broken.

        Unless told otherwise, one delivery in a hundred is pending, and no more than 20,000.
        """
        dice = Random(seed)  # noqa: S311  nothing is secret here
        born = to_milliseconds(get_midnight(now.date() - timedelta(days=DAYS)))
        targets = []
        for number in range(TENANTS):
            tenant = make_id_at(born + number, 0, dice)
            ids = [make_id_at(born + TENANTS + number, place, dice) for place in range(ENDPOINTS_EACH)]
            stands = ["active"] * (ENDPOINTS_EACH - 4) + _assign_states(number)
            targets.append(tuple(map(HistoryEndpoint, [tenant] * ENDPOINTS_EACH, ids, stands)))
        owed = min(PENDING, rows // 100) if pending is None else pending
        return cls(rows, now, seed, tuple(targets), owed)

    @property
    def tenants(self) -> list[TenantId]:
        """The tenants, the busiest first."""
        return [TenantId(UUID(some[0].tenant)) for some in self.endpoints_by_tenant]

    @property
    def days(self) -> list[date]:
        """The days with deliveries, the oldest first."""
        today = self.now.date()
        return [today - timedelta(days=back) for back in reversed(range(DAYS))]

    def list_endpoints_in_state(self, state: str, writer: int) -> list[HistoryEndpoint]:
        """The endpoints of a half that stand like this."""
        return [
            one
            for some in self.endpoints_by_tenant
            for one in some[writer::WRITER_COUNT]
            if one.state == state
        ]


def write_owners(url: str, plan: HistoryPlan) -> None:
    """Write the tenants and their endpoints."""
    born = format_milliseconds(to_milliseconds(get_midnight(plan.days[0])))
    tenants = [
        format_line(some[0].tenant, f"tenant {n}", born) for n, some in enumerate(plan.endpoints_by_tenant)
    ]
    endpoints = [
        format_line(
            one.id, one.tenant, "https://hooks.example.com/in", "", "{*}",
            "paused" if one.state == "paused" else "active", born, "{}", "v1", born, born,
        )
        for some in plan.endpoints_by_tenant
        for one in some
    ]  # fmt: skip
    with connect(url) as database:
        copy_lines(database, "tenants", tenants)
        copy_lines(database, "endpoints", endpoints)


def write_health(
    url: str, plan: HistoryPlan, numbers: Mapping[str, int], in_flight: Mapping[str, int]
) -> None:
    """Write how the endpoints stand: the last number each was owed, and how many are on their way."""
    now, later = plan.now.isoformat(), (plan.now + timedelta(hours=1)).isoformat()
    lines = []
    for one in (one for some in plan.endpoints_by_tenant for one in some):
        broken = one.state == "broken"
        state = ("open", now, now, 1, later) if broken else ("closed", now, now, 0, NULL)
        lines.append(format_line(one.id, in_flight.get(one.id, 0), *state, 50, "f", numbers.get(one.id, 0)))
    with connect(url) as database:
        copy_lines(database, "endpoint_health", lines)


def write_journal(url: str, plan: HistoryPlan) -> None:
    """Write what people and keys have done, one entry in ten, and the engine's own."""
    dice = Random(plan.seed)  # noqa: S311  nothing is secret here
    a_day = min(JOURNAL, plan.rows) // DAYS
    with connect(url) as database:
        for day in plan.days:
            start = to_milliseconds(get_midnight(day))
            end = min(start + 86_390_000, max(to_milliseconds(plan.now), start + 60_000))
            lines = []
            for number in range(a_day):
                moment = start + (end - start) * number // a_day
                one = dice.choice(plan.endpoints_by_tenant[int(TENANTS * dice.random() ** 3)])
                deed = ("endpoint.breaker_opened", "waybill", NULL, "{}", NULL)
                if number % 10 == 0:
                    deed = (dice.choice(ACTIONS), dice.choice(ACTORS), "asked for", "{}", "198.51.100.4")
                lines.append(
                    format_line(
                        make_id_at(moment, number, dice),
                        one.tenant,
                        one.id,
                        format_milliseconds(moment),
                        *deed,
                    )
                )
            copy_lines(database, "journal", lines, day)


def copy_lines(database: Connection, table: str, lines: list[str], day: date | None = None) -> None:
    """Write lines into a table, or into the partition of a day."""
    name = table if day is None or table in UNPARTITIONED_TABLES else f"{table}_{day:%Y%m%d}"
    statement = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split(", ")))
    )
    with database.cursor().copy(statement) as target:
        target.write("".join(lines))


def make_id_at(moment: int, number: int, rng: Random) -> str:
    """A UUIDv7 of this millisecond, as hexadecimal digits; of one millisecond in the order of numbers."""
    return f"{moment:012x}7{number & 0xFFF:03x}8{rng.getrandbits(60):015x}"


def _assign_states(number: int) -> list[str]:
    """How a tenant's last four endpoints stand: of each kind of trouble there is one in each half."""
    paused = ["paused"] * 2 if number % 10 == 0 else ["active"] * 2
    broken = ["broken"] * 2 if number % 20 == 5 else ["active"] * 2  # noqa: PLR2004  one tenant in twenty
    return broken + paused


def format_line(*values: Any) -> str:
    """One row, as COPY reads it."""
    return "\t".join(map(str, values)) + "\n"


def get_midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


def to_milliseconds(moment: datetime) -> int:
    """A moment in milliseconds, as ids count them."""
    return int(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int) -> datetime:
    """The moment of so many milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def format_milliseconds(milliseconds: int) -> str:
    """The same, as COPY reads it."""
    return from_milliseconds(milliseconds).isoformat()
