"""Half of a history: events, their deliveries to half of the endpoints, and attempts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
from typing import TYPE_CHECKING
from uuid import UUID

from benchmarks.history import (
    COLUMNS,
    DAYS,
    ENDPOINTS_EACH,
    NULL,
    PENDING_DAYS,
    RARE_TYPE,
    TENANTS,
    TYPES,
    WRITER_COUNT,
    HistoryEndpoint,
    HistoryPlan,
    copy_lines,
    format_line,
    format_milliseconds,
    from_milliseconds,
    get_midnight,
    make_id_at,
    to_milliseconds,
)
from delivery.domain.ids import EventId, TenantId
from tests.support.postgres import connect

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

FAN_OUT = 2
BODY_BYTES, CUSTOMERS = 300, 1_000
RARE_ONE_IN = 20_000
EVENTS_BATCH_SIZE = 5_000
SECOND_ATTEMPTS, IN_FLIGHT_SHARE = 0.05, 0.03

_REQUEST_HEADERS = (
    '{"Content-Type":"application/json","User-Agent":"Waybill","webhook-id":"%s","webhook-timestamp":"%d"}'
)
_RESPONSE_HEADERS = (
    '[["Content-Type","text/plain"],["Content-Length","2"],["Date","Wed, 25 Nov 2026 12:00:00 GMT"]]'
)


@dataclass(frozen=True, slots=True)
class DeliveryEnding:
    """The status of a delivery, and the result of its last attempt."""

    status: str
    reason: str
    outcome: str
    http_status: str
    attempts: int


_DELIVERED = DeliveryEnding("succeeded", "delivered", "delivered", "200", 1)
_NEVER_ATTEMPTED = DeliveryEnding("cancelled", "endpoint_deleted", NULL, NULL, 0)
# Of a thousand: 950 succeeded, 40 failed, 10 were cancelled.
ENDINGS = (
    *[_DELIVERED] * 915,
    *[DeliveryEnding("succeeded", "delivered", "delivered", "204", 1)] * 10,
    *[DeliveryEnding("succeeded", "delivered", "delivered", "200", 2)] * 20,
    *[DeliveryEnding("succeeded", "delivered", "delivered", "200", 5)] * 5,
    *[DeliveryEnding("failed", "schedule_spent", "refused", "503", 10)] * 20,
    *[DeliveryEnding("failed", "schedule_spent", "refused", "404", 10)] * 9,
    *[DeliveryEnding("failed", "gone", "refused", "410", 1)] * 1,
    *[DeliveryEnding("failed", "schedule_spent", "timed_out", NULL, 10)] * 7,
    *[DeliveryEnding("failed", "schedule_spent", "unreachable", NULL, 10)] * 3,
    *[DeliveryEnding("cancelled", "endpoint_deleted", "refused", "503", 3)] * 5,
    *[_NEVER_ATTEMPTED] * 5,
)
_WAITING = DeliveryEnding("pending", NULL, NULL, NULL, 0)
_RETRYING = DeliveryEnding("pending", NULL, "refused", "503", 3)


@dataclass(slots=True)
class WrittenRows:
    """What one writer wrote: rows by table, last sequence numbers, and sample events."""

    rows: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    events: list[tuple[TenantId, EventId, str | None]] = field(default_factory=list)


class HistoryWriter:
    """One of the two writers, with its own connection, endpoints and random numbers."""

    def __init__(self, plan: HistoryPlan, half: int, database: Connection) -> None:
        """Prepare; `write` writes."""
        self._plan = plan
        self._half = half
        self._database = database
        self._rng = Random(plan.seed + 1 + half)  # noqa: S311  not a secret
        self._pending_endpoints = [
            plan.list_endpoints_in_state(state, half) for state in ("paused", "broken", "active")
        ]
        self._claim = make_id_at(to_milliseconds(plan.now), half, self._rng)
        self._lines: dict[str, list[str]] = {table: [] for table in COLUMNS}
        self._events = 0
        self.written = WrittenRows()

    def write(self) -> None:
        """Write all days, the oldest first."""
        moment = self._plan.now.isoformat()
        lease = (self._plan.now + timedelta(hours=1)).isoformat()
        self._lines["claims"].append(format_line(self._claim, 0, 1, 1, moment, lease, moment, "bench"))
        events = (self._plan.rows - self._plan.pending) // (FAN_OUT * WRITER_COUNT * DAYS)
        owed = self._plan.pending // (WRITER_COUNT * PENDING_DAYS)
        for day in self._plan.days:
            late = day in self._plan.days[-PENDING_DAYS:]
            self._write_day(day, events, owed if late else 0)

    def _write_day(self, day: date, events: int, owed: int) -> None:
        start = to_milliseconds(get_midnight(day))
        # Leave time at the end, so that attempts fall on the same day.
        end = min(start + 86_390_000, max(to_milliseconds(self._plan.now) - 60_000, start + 60_000))
        total = events + owed
        for number in range(total):
            moment = start + (end - start) * number // total
            # Spread pending events evenly.
            if (number + 1) * owed // total > number * owed // total:
                self._write_pending(moment)
            else:
                self._write_finished(moment)
            if number % EVENTS_BATCH_SIZE == 0:
                self._flush(day)
        self._flush(day)

    def _write_finished(self, moment: int) -> None:
        """Write an event whose deliveries have ended."""
        chance = self._rng.random
        per_half = ENDPOINTS_EACH // WRITER_COUNT
        endpoints_of_tenant = self._plan.endpoints_by_tenant[int(TENANTS * chance() ** 3)][
            self._half :: WRITER_COUNT
        ]
        first = int(per_half * chance() ** 2)
        second = (first + 1 + int((per_half - 1) * chance())) % per_half
        event, digest, kind = self._write_event(moment, endpoints_of_tenant[0].tenant, FAN_OUT)
        for target in (endpoints_of_tenant[first], endpoints_of_tenant[second]):
            ending = ENDINGS[int(len(ENDINGS) * chance())]
            self._write_delivery(moment, event, digest, kind, target, ending)

    def _write_pending(self, moment: int) -> None:
        """Write an event with a pending delivery: half go to paused endpoints, a fifth to broken ones."""
        roll = self._rng.random()
        candidates = self._pending_endpoints[0 if roll < 0.5 else 1 if roll < 0.7 else 2]  # noqa: PLR2004  see above
        target = self._rng.choice(candidates)
        event, digest, kind = self._write_event(moment, target.tenant, 1)
        retries = target.state == "active"
        self._write_delivery(moment, event, digest, kind, target, _RETRYING if retries else _WAITING)

    def _write_event(self, moment: int, tenant: str, matched: int) -> tuple[str, str, str]:
        rng = self._rng
        self._events += 1
        rare = self._events % RARE_ONE_IN == 0
        kind = RARE_TYPE if rare else TYPES[int(len(TYPES) * rng.random() ** 2)]
        id_, at = make_id_at(moment, self._events, rng), format_milliseconds(moment)
        key = f"key-{self._half}-{self._events}" if self._events % 5 == 0 else None
        body = (
            f'{{"type":"{kind}","timestamp":"{at}","data":{{"number":{self._events},'
            f'"customer":"c-{int(rng.random() * CUSTOMERS)}","note":"'
        )
        body += "x" * (BODY_BYTES - len(body) - 3) + '"}}'
        content = body.encode()
        digest = "\\\\x" + hashlib.sha256(content).hexdigest()
        self._lines["events"].append(
            format_line(id_, tenant, kind, "\\\\x" + content.hex(), digest, matched, at, key or NULL)
        )
        if self._events % 997 == 0 or (key and self._events % 95 == 0):
            self.written.events.append((TenantId(UUID(tenant)), EventId(UUID(id_)), key))
        return id_, digest, kind

    def _write_delivery(
        self, moment: int, event: str, digest: str, kind: str, target: HistoryEndpoint, ending: DeliveryEnding
    ) -> None:
        rng, lines, owner = self._rng, self._lines, (target.tenant, target.id)
        id_ = make_id_at(moment + 1, self._events, rng)
        finished_already = ending.status != "pending"
        number = NULL
        if ending.attempts:
            self.written.numbers[target.id] += 1
            number = str(self.written.numbers[target.id])
            lines["endpoint_sequence"].append(format_line(target.id, number, id_))
        finished = format_milliseconds(moment + 150) if finished_already else NULL
        last = (ending.outcome, ending.http_status, number) if finished_already else (NULL, NULL, NULL)
        lines["deliveries"].append(
            format_line(
                id_, target.tenant, event, target.id, kind, "*", ending.status, ending.reason,
                ending.attempts if finished_already else 0, format_milliseconds(moment), finished, *last,
            )
        )  # fmt: skip
        if ending.status in ("failed", "cancelled"):
            lines["failures"].append(format_line(id_, *owner))
        if not finished_already:
            self._write_schedule(moment, id_, event, target, ending, number)
        # At most two attempts, 1.05 on average, to save disk.
        for made in range(min(ending.attempts, 1 + (rng.random() < 0.05))):  # noqa: PLR2004  see above
            self._write_attempt(moment + 50 * (made + 1), id_, event, digest, target, (ending, made + 1))

    def _write_schedule(
        self, moment: int, id_: str, event: str, target: HistoryEndpoint, ending: DeliveryEnding, number: str
    ) -> None:
        claimed = target.state == "active" and self._rng.random() < IN_FLIGHT_SHARE
        hours = self._rng.random() * 12
        due = self._plan.now + timedelta(hours=hours) if ending.attempts else from_milliseconds(moment)
        if claimed:
            self.written.in_flight[target.id] += 1
        self._lines["schedule"].append(
            format_line(
                id_, target.tenant, target.id, event, due.isoformat(), ending.attempts, ending.attempts,
                self._claim if claimed else NULL, ending.outcome, ending.http_status, number,
            )
        )  # fmt: skip

    def _write_attempt(
        self,
        moment: int,
        id_: str,
        event: str,
        digest: str,
        target: HistoryEndpoint,
        made: tuple[DeliveryEnding, int],
    ) -> None:
        ending, number = made
        at = format_milliseconds(moment)
        took = int(20_000 + 80_000 * self._rng.random())
        self._lines["attempts"].append(
            format_line(
                make_id_at(moment, self._events, self._rng), id_, target.tenant, target.id, event, number,
                at, at, 1_000, took - 1_000, took, "https://hooks.example.com/in", "203.0.113.7",
                _REQUEST_HEADERS % (event, moment // 1_000), digest, "key_1", ending.http_status,
                _RESPONSE_HEADERS, "ok", "f", ending.outcome, "",
                "succeed" if ending.status == "succeeded" else "retry",
                "retryable_status" if ending.reason == NULL else ending.reason, "worker-1",
            )
        )  # fmt: skip

    def _flush(self, day: date) -> None:
        for table, lines in self._lines.items():
            if lines:
                self.written.rows[table] += len(lines)
                copy_lines(self._database, table, lines, day)
                lines.clear()


def write_part(url: str, plan: HistoryPlan, half: int) -> WrittenRows:
    """Write one half of the history; runs in its own process."""
    with connect(url) as database:
        writer = HistoryWriter(plan, half, database)
        writer.write()
        return writer.written
