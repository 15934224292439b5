"""Half of a history: events, what is owed of them to half of the endpoints, and what was tried."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random  # noqa: TID251  a benchmark brings its own dice, with a seed
from typing import TYPE_CHECKING
from uuid import UUID

from benchmarks.history import (
    COLUMNS,
    DAYS,
    ENDPOINTS_EACH,
    HALVES,
    NULL,
    OWED_FOR_DAYS,
    RARE,
    TENANTS,
    TYPES,
    Plan,
    Target,
    copy,
    id_at,
    line,
    midnight,
    moment_at,
    ms,
    shown,
)
from delivery.model import EventId, TenantId
from tests.support.postgres import connect

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

FAN_OUT = 2
BODY_BYTES, CUSTOMERS = 300, 1_000
RARE_ONE_IN = 20_000
EVENTS_AT_ONCE = 5_000
SECOND_ATTEMPTS, ON_THEIR_WAY = 0.05, 0.03

_ASKED = (
    '{"Content-Type":"application/json","User-Agent":"Waybill","webhook-id":"%s","webhook-timestamp":"%d"}'
)
_ANSWERED = '[["Content-Type","text/plain"],["Content-Length","2"],["Date","Wed, 25 Nov 2026 12:00:00 GMT"]]'


@dataclass(frozen=True, slots=True)
class Ending:
    """How a delivery stands, and what its last attempt came to."""

    status: str
    reason: str
    outcome: str
    http: str
    attempts: int


_DELIVERED = Ending("succeeded", "delivered", "delivered", "200", 1)
_UNCALLED = Ending("cancelled", "endpoint_deleted", NULL, NULL, 0)
# Of a thousand: 950 succeeded, 40 failed, 10 were cancelled.
ENDINGS = (
    *[_DELIVERED] * 915,
    *[Ending("succeeded", "delivered", "delivered", "204", 1)] * 10,
    *[Ending("succeeded", "delivered", "delivered", "200", 2)] * 20,
    *[Ending("succeeded", "delivered", "delivered", "200", 5)] * 5,
    *[Ending("failed", "schedule_spent", "refused", "503", 10)] * 20,
    *[Ending("failed", "schedule_spent", "refused", "404", 10)] * 9,
    *[Ending("failed", "gone", "refused", "410", 1)] * 1,
    *[Ending("failed", "schedule_spent", "timed_out", NULL, 10)] * 7,
    *[Ending("failed", "schedule_spent", "unreachable", NULL, 10)] * 3,
    *[Ending("cancelled", "endpoint_deleted", "refused", "503", 3)] * 5,
    *[_UNCALLED] * 5,
)
_WAITS = Ending("pending", NULL, NULL, NULL, 0)
_RETRIES = Ending("pending", NULL, "refused", "503", 3)


@dataclass(slots=True)
class Written:
    """What one half has written: rows by table, each endpoint's last number, some events to ask for."""

    rows: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    events: list[tuple[TenantId, EventId, str | None]] = field(default_factory=list)


class Half:
    """One of the two writers, with its own connection, endpoints and dice."""

    def __init__(self, plan: Plan, half: int, database: Connection) -> None:
        """Nothing is written yet."""
        self._plan = plan
        self._half = half
        self._database = database
        self._dice = Random(plan.seed + 1 + half)  # noqa: S311  nothing is secret here
        self._owing = [plan.standing(stands, half) for stands in ("paused", "broken", "active")]
        self._claim = id_at(ms(plan.now), half, self._dice)
        self._lines: dict[str, list[str]] = {table: [] for table in COLUMNS}
        self._events = 0
        self.written = Written()

    def write(self) -> None:
        """Write all days, the oldest first."""
        moment = self._plan.now.isoformat()
        lease = (self._plan.now + timedelta(hours=1)).isoformat()
        self._lines["claims"].append(line(self._claim, 0, 1, 1, moment, lease, moment, "bench"))
        events = (self._plan.rows - self._plan.pending) // (FAN_OUT * HALVES * DAYS)
        owed = self._plan.pending // (HALVES * OWED_FOR_DAYS)
        for day in self._plan.days:
            late = day in self._plan.days[-OWED_FOR_DAYS:]
            self._day(day, events, owed if late else 0)

    def _day(self, day: date, events: int, owed: int) -> None:
        start = ms(midnight(day))
        # Some room at the end, so that attempts are of the same day.
        end = min(start + 86_390_000, max(ms(self._plan.now) - 60_000, start + 60_000))
        all_ = events + owed
        for number in range(all_):
            moment = start + (end - start) * number // all_
            # Spread among the others, as many as are wanted.
            if (number + 1) * owed // all_ > number * owed // all_:
                self._owe(moment)
            else:
                self._happen(moment)
            if number % EVENTS_AT_ONCE == 0:
                self._flush(day)
        self._flush(day)

    def _happen(self, moment: int) -> None:
        """An event that all its receivers have got, or never will."""
        chance = self._dice.random
        per_half = ENDPOINTS_EACH // HALVES
        some = self._plan.targets[int(TENANTS * chance() ** 3)][self._half :: HALVES]
        first = int(per_half * chance() ** 2)
        second = (first + 1 + int((per_half - 1) * chance())) % per_half
        event, digest, kind = self._event(moment, some[0].tenant, FAN_OUT)
        for target in (some[first], some[second]):
            ending = ENDINGS[int(len(ENDINGS) * chance())]
            self._deliver(moment, event, digest, kind, target, ending)

    def _owe(self, moment: int) -> None:
        """An event whose receiver has not got it yet: half of them are paused, a fifth have a broken one."""
        lot = self._dice.random()
        owing = self._owing[0 if lot < 0.5 else 1 if lot < 0.7 else 2]  # noqa: PLR2004  said above
        target = self._dice.choice(owing)
        event, digest, kind = self._event(moment, target.tenant, 1)
        retries = target.stands == "active"
        self._deliver(moment, event, digest, kind, target, _RETRIES if retries else _WAITS)

    def _event(self, moment: int, tenant: str, matched: int) -> tuple[str, str, str]:
        dice = self._dice
        self._events += 1
        rare = self._events % RARE_ONE_IN == 0
        kind = RARE if rare else TYPES[int(len(TYPES) * dice.random() ** 2)]
        id_, at = id_at(moment, self._events, dice), shown(moment)
        key = f"key-{self._half}-{self._events}" if self._events % 5 == 0 else None
        body = (
            f'{{"type":"{kind}","timestamp":"{at}","data":{{"number":{self._events},'
            f'"customer":"c-{int(dice.random() * CUSTOMERS)}","note":"'
        )
        body += "x" * (BODY_BYTES - len(body) - 3) + '"}}'
        content = body.encode()
        digest = "\\\\x" + hashlib.sha256(content).hexdigest()
        self._lines["events"].append(
            line(id_, tenant, kind, "\\\\x" + content.hex(), digest, matched, at, key or NULL)
        )
        if self._events % 997 == 0 or (key and self._events % 95 == 0):
            self.written.events.append((TenantId(UUID(tenant)), EventId(UUID(id_)), key))
        return id_, digest, kind

    def _deliver(
        self, moment: int, event: str, digest: str, kind: str, target: Target, ending: Ending
    ) -> None:
        dice, lines, whose = self._dice, self._lines, (target.tenant, target.id)
        id_ = id_at(moment + 1, self._events, dice)
        over = ending.status != "pending"
        number = NULL
        if ending.attempts:
            self.written.numbers[target.id] += 1
            number = str(self.written.numbers[target.id])
            lines["endpoint_sequence"].append(line(target.id, number, id_))
        finished = shown(moment + 150) if over else NULL
        last = (ending.outcome, ending.http, number) if over else (NULL, NULL, NULL)
        lines["deliveries"].append(
            line(
                id_, target.tenant, event, target.id, kind, "*", ending.status, ending.reason,
                ending.attempts if over else 0, shown(moment), finished, *last,
            )
        )  # fmt: skip
        if ending.status in ("failed", "cancelled"):
            lines["failures"].append(line(id_, *whose))
        if not over:
            self._schedule(moment, id_, event, target, ending, number)
        # Not all of many: 1.05 for each delivery, so that the disk has room.
        for made in range(min(ending.attempts, 1 + (dice.random() < 0.05))):  # noqa: PLR2004  said above
            self._attempt(moment + 50 * (made + 1), id_, event, digest, target, (ending, made + 1))

    def _schedule(
        self, moment: int, id_: str, event: str, target: Target, ending: Ending, number: str
    ) -> None:
        claimed = target.stands == "active" and self._dice.random() < ON_THEIR_WAY
        hours = self._dice.random() * 12
        due = self._plan.now + timedelta(hours=hours) if ending.attempts else moment_at(moment)
        if claimed:
            self.written.in_flight[target.id] += 1
        self._lines["schedule"].append(
            line(
                id_, target.tenant, target.id, event, due.isoformat(), ending.attempts, ending.attempts,
                self._claim if claimed else NULL, ending.outcome, ending.http, number,
            )
        )  # fmt: skip

    def _attempt(
        self, moment: int, id_: str, event: str, digest: str, target: Target, made: tuple[Ending, int]
    ) -> None:
        ending, number = made
        at = shown(moment)
        took = int(20_000 + 80_000 * self._dice.random())
        self._lines["attempts"].append(
            line(
                id_at(moment, self._events, self._dice), id_, target.tenant, target.id, event, number, at, at,
                1_000, took - 1_000, took, "https://hooks.example.com/in", "203.0.113.7",
                _ASKED % (event, moment // 1_000), digest, "key_1", ending.http, _ANSWERED, "ok", "f",
                ending.outcome, "", "succeed" if ending.status == "succeeded" else "retry",
                "retryable_status" if ending.reason == NULL else ending.reason, "worker-1",
            )
        )  # fmt: skip

    def _flush(self, day: date) -> None:
        for table, lines in self._lines.items():
            if lines:
                self.written.rows[table] += len(lines)
                copy(self._database, table, lines, day)
                lines.clear()


def write_half(url: str, plan: Plan, half: int) -> Written:
    """Write one half of the history; for a process of its own."""
    with connect(url) as database:
        writer = Half(plan, half, database)
        writer.write()
        return writer.written
