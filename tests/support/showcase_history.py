"""The history of a showcase: a day of deliveries, written with COPY by the engine's own rules.

Ids, bodies, signatures, decisions and sentences are made by the functions that make the real ones; only the
clock and the dice are ours.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import sql

from delivery.domain.ids import EventId, Prefix, format_id
from delivery.domain.subscription import Subscription
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from delivery.pipeline.attempt import DEFAULT_HEADERS, SEQUENCE_HEADER
from delivery.pipeline.fanout import Subscriptions, plan_fanout
from delivery.pipeline.parsing import NewEvent
from retries.backoff import parse_schedule
from retries.outcome import Delivered, Outcome, Phase, Refused, TimedOut, describe_outcome, label_outcome
from retries.policy import RetryAt, decide, label_decision
from signing import sign
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from random import Random

    from psycopg import Connection

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.queue.enqueue import DeliveryRow, EventRow
    from signing import Secret

HISTORY_DURATION = timedelta(hours=30)
# A delivery of the past is over before the present begins.
END_MARGIN = timedelta(seconds=20)

_TABLES = {
    "events": "id, tenant_id, type, body, body_sha256, matched, created_at",
    "deliveries": "id, tenant_id, event_id, endpoint_id, event_type, matched_by, status, reason, attempts, "
    "created_at, finished_at, outcome, http_status, sequence",
    "attempts": "id, delivery_id, tenant_id, endpoint_id, event_id, number, claimed_at, started_at, dns_us, "
    "connect_us, first_byte_us, total_us, url, address, request_headers, body_sha256, key_ids, status, "
    "response_headers, response_body, response_truncated, outcome, detail, decision, reason, next_due_at, "
    "worker",
    "failures": "delivery_id, tenant_id, endpoint_id",
    "endpoint_sequence": "endpoint_id, sequence, delivery_id",
}
_SCHEDULE = parse_schedule((0, 5, 300))
_BUSY_HOUR, _MINUTES_OF_A_DAY = 15, 1_440
# A campaign began: traffic grows by this factor towards the end, by half of it an hour before.
_RUSH_FACTOR = 5
# An hour of the last day in which much went wrong, counted back from its end.
_BAD_HOUR = (timedelta(hours=7), timedelta(hours=6))


@dataclass(frozen=True, slots=True)
class EndpointHistory:
    """One endpoint of the history; `takes` is the median in milliseconds, `secret` signs."""

    id: EndpointId
    tenant_id: TenantId
    filter: tuple[str, ...]
    url: str
    latency_ms: int
    secret: Secret


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """One attempt: its delivery, number, time, duration and result."""

    row: DeliveryRow
    number: int
    at: datetime
    duration: timedelta
    outcome: Outcome

    @property
    def status(self) -> int | None:
        """The receiver's response."""
        return self.outcome.status if isinstance(self.outcome, Delivered | Refused) else None


@dataclass(slots=True)
class ShowcaseHistory:
    """Rows by table, and the last sequence number of each endpoint. The history ends at `now`."""

    now: datetime
    rng: Random
    endpoints: dict[EndpointId, EndpointHistory]
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in _TABLES})
    sequences: Counter[EndpointId] = field(default_factory=Counter)

    def add_event(self, moment: datetime, tenant_id: TenantId, type_: str, data: object) -> None:
        """Add one event with its deliveries and attempts."""
        some = [
            (flow.id, Subscription(flow.filter))
            for flow in self.endpoints.values()
            if flow.tenant_id == tenant_id
        ]
        told_event = NewEvent(type_, json.dumps(data, separators=(",", ":")).encode())
        drafted = plan_fanout(
            tenant_id,
            [told_event],
            [Subscriptions.from_entries(some).match_event(told_event)],
            single=True,
            now=moment,
            new_id=lambda: self._make_id(moment),
        )
        (event,) = drafted.events
        self.rows["events"].append(
            (event.id, tenant_id, type_, event.body, event.body_sha256, event.matched, moment)
        )
        for row in drafted.deliveries:
            self._add_delivery(event, row, moment)

    def _add_delivery(self, event: EventRow, row: DeliveryRow, moment: datetime) -> None:
        flow = self.endpoints[row.endpoint_id]
        self.sequences[flow.id] += 1
        number, at = self.sequences[flow.id], moment + timedelta(milliseconds=8)
        made = 0
        while True:
            made += 1
            outcome = Delivered(200) if made > 1 else self._draw_first_outcome(at)
            took = self._draw_duration(flow, outcome)
            tried = PastAttempt(row, made, at, took, outcome)
            decision = decide(outcome, step=made - 1, schedule=_SCHEDULE, now=at + took, jitter=0.0)
            self._add_attempt(event, flow, number, tried, decision)
            if not isinstance(decision, RetryAt):
                break
            at = decision.at + timedelta(milliseconds=self.rng.randrange(5, 40))
        good = isinstance(outcome, Delivered)
        self.rows["endpoint_sequence"].append((flow.id, number, row.id))
        self.rows["deliveries"].append((
            row.id, row.tenant_id, row.event_id, flow.id, row.event_type, row.matched_by,
            "succeeded" if good else "failed", decision.reason, made, moment, at + took,
            label_outcome(outcome), tried.status, number,
        ))  # fmt: skip
        if not good:
            self.rows["failures"].append((row.id, row.tenant_id, flow.id))

    def _add_attempt(
        self, event: EventRow, flow: EndpointHistory, number: int, tried: PastAttempt, decision: Any
    ) -> None:
        shown = format_id(Prefix.EVENT, EventId(event.id))
        signed = sign([flow.secret], message_id=shown, timestamp=tried.at, body=event.body)
        headers = {**DEFAULT_HEADERS, **signed.to_dict(), SEQUENCE_HEADER: str(number)}
        us = tried.duration // timedelta(microseconds=1)
        answered = tried.status is not None
        self.rows["attempts"].append((
            self._make_id(tried.at), tried.row.id, flow.tenant_id, flow.id, event.id, tried.number, tried.at,
            tried.at, 90, 240, us - 60 if answered else None, us, flow.url, "127.0.0.1", json.dumps(headers),
            event.body_sha256, " ".join(signed.key_ids), tried.status,
            json.dumps([["Content-Type", "application/json"]] if answered else []),
            _format_response(tried.outcome), False,
            label_outcome(tried.outcome), describe_outcome(tried.outcome),
            label_decision(decision), decision.reason,
            decision.at if isinstance(decision, RetryAt) else None, "worker-1",
        ))  # fmt: skip

    def _draw_first_outcome(self, at: datetime) -> Outcome:
        """Succeed nearly always, and fail often in the bad hour."""
        began, ended = (self.now - back for back in _BAD_HOUR)
        lot = self.rng.random() * (0.12 if began <= at < ended else 1)
        if lot < 0.02:
            return Refused(500)
        if lot < 0.03:
            return TimedOut(Phase.FIRST_BYTE)
        return Refused(413) if lot < 0.033 else Delivered(200)

    def _draw_duration(self, flow: EndpointHistory, outcome: Outcome) -> timedelta:
        if isinstance(outcome, TimedOut):
            return timedelta(seconds=5)
        return timedelta(milliseconds=flow.latency_ms * math.exp(self.rng.gauss(0, 0.45)))

    def _make_id(self, moment: datetime) -> UUID:
        """A UUIDv7 with this time."""
        milliseconds = int(moment.timestamp() * 1000)
        chance = self.rng.getrandbits(62)
        return UUID(int=milliseconds << 80 | 7 << 76 | self.rng.getrandbits(12) << 64 | 2 << 62 | chance)


def make_event_times(now: datetime, rng: Random, *, per_day: int) -> list[datetime]:
    """Times of events, oldest first: more by day than by night, and most just before now."""
    found = []
    for back in range(int(HISTORY_DURATION / timedelta(minutes=1)), 0, -1):
        minute = now - END_MARGIN - timedelta(minutes=back)
        hours_off = abs(minute.hour + minute.minute / 60 - _BUSY_HOUR)
        busy = 1 + 0.7 * math.cos(min(hours_off, 24 - hours_off) / 12 * math.pi)
        wanted = per_day / _MINUTES_OF_A_DAY * busy * (1 + (_RUSH_FACTOR - 1) * 2 ** (-back / 60))
        count = int(wanted) + (rng.random() < wanted % 1)
        found += sorted(minute + timedelta(seconds=rng.random() * 60) for _ in range(count))
    return found


def write_history(url: str, past: ShowcaseHistory) -> None:
    """Write all rows; endpoints continue counting from there."""
    asyncio.run(_make_partitions(url, past.now))
    with connect(url) as database:
        for table, rows in past.rows.items():
            _copy_rows(database, table, rows)
        database.cursor().executemany(
            "update endpoint_health set sequence = %s, last_succeeded_at = %s where endpoint_id = %s",
            [(number, past.now - END_MARGIN, id_) for id_, number in past.sequences.items()],
        )


def backdate_rows(url: str, past: ShowcaseHistory) -> None:
    """Move the creation of all objects and their journal entries to the start of the history."""
    began = past.now - HISTORY_DURATION
    with connect(url) as database, database.transaction():
        for table in ("tenants", "api_keys", "endpoints", "endpoint_secrets"):
            database.execute(sql.SQL("update {} set created_at = %s").format(sql.Identifier(table)), [began])
        database.execute("update endpoints set updated_at = %(at)s, state_changed_at = %(at)s", {"at": began})
        database.execute("set local session_replication_role = replica")  # the journal would refuse
        # An id begins with its milliseconds, in twelve digits.
        database.execute(
            """
            update journal set at = at - %(back)s, id = cast(
                lpad(to_hex(cast(extract(epoch from at - %(back)s) * 1000 as bigint)), 12, '0')
                || substr(replace(cast(id as text), '-', ''), 13) as uuid)
            """,
            {"back": HISTORY_DURATION},
        )


async def _make_partitions(url: str, now: datetime) -> None:
    ledger = Ledger(url, pool_size=1, application_name="waybill showcase")
    try:
        async with ledger.transaction() as tx:
            for back in range(HISTORY_DURATION.days + 1, -1, -1):
                await partitions.ensure_partitions(tx, now=now - timedelta(days=back))
    finally:
        await ledger.close()


def _copy_rows(database: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, _TABLES[table].split(", ")))
    with database.cursor().copy(
        sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), names)
    ) as target:
        for row in rows:
            target.write_row(row)


def _format_response(outcome: Outcome) -> bytes:
    match outcome:
        case Delivered():
            return b'{"received":true}'
        case Refused(status=status):
            return json.dumps({"error": f"status {status}"}).encode()
        case _:
            return b""
