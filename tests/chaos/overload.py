"""Twice what can be sustained, for two minutes: nothing is lost, memory is bounded, the refused hear when.

What can be sustained is measured first: as fast as producers may go while next to nothing waits.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from delivery.domain.ids import Prefix, parse_id
from tests.chaos.environment import PROCESSES
from tests.support.stack import wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tests.chaos.environment import ChaosEnvironment
    from tests.support.api import Api

CONNECTIONS = 64
MEASURED_SECONDS, FLOOD_SECONDS = 15.0, 120.0
# While this many deliveries wait, more is posted than delivered.
MAX_CALM_BACKLOG = 100
MAX_PROCESS_MIB = 400
DRAIN_TIMEOUT_SECONDS = 300
_ALLOWED_STATUSES = {202, 429, 503}


@dataclass(slots=True)
class OverloadReport:
    """What came of it; `faults` has a sentence for everything that must not be."""

    sustained: float = 0.0
    posted: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    with_retry_after: int = 0
    peak_mib: float = 0.0
    peak_waiting: int = 0
    drain_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        answers = ", ".join(f"{count:,} of {status}" for status, count in sorted(self.answers.items()))
        return (
            f"{self.sustained:,.0f} events/s can be sustained; at {self.posted:,.0f}/s for "
            f"{FLOOD_SECONDS:.0f} s: {answers}; at most {self.peak_waiting:,} waited, drained in "
            f"{self.drain_seconds:.0f} s; no process above {self.peak_mib:.0f} MiB"
        )


class OverloadClient:
    """Posts on many connections, at a rate or as fast as it may."""

    def __init__(self, port: int, key: str) -> None:
        """Nothing is posted yet."""
        body = json.dumps({"type": "flood.rose", "data": {"text": "x" * 200}}).encode()
        self._port = port
        self._request = (
            f"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.answers: Counter[int] = Counter()
        self.with_retry_after = 0

    async def post(self, seconds: float, *, rate: float = 0.0, can_post: Callable[[], bool]) -> None:
        """Post for this many seconds, at this rate per second if given, else as fast as possible."""
        until, began = time.monotonic() + seconds, time.monotonic()
        begun = 0

        def due() -> bool:
            return begun < (time.monotonic() - began) * rate if rate else can_post()

        async def run_producer() -> None:
            nonlocal begun
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            while time.monotonic() < until:
                if not due():
                    await asyncio.sleep(0.002)
                    continue
                begun += 1
                writer.write(self._request)
                if await self._answer(reader):
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.close()

        await asyncio.gather(*(run_producer() for _ in range(CONNECTIONS)))

    async def _answer(self, reader: asyncio.StreamReader) -> bool:
        """Note an answer; whether the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.find(b"content-length: ") + 16
        await reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
        self.answers[int(head[9:12])] += 1
        self.with_retry_after += b"\r\nretry-after: " in head
        return b"\r\nconnection: close" in head


def run_overload(ground: ChaosEnvironment, operator: Api) -> OverloadReport:
    """Measure what can be sustained, have twice as much, and settle the account."""
    found = OverloadReport()
    tenant = str(operator.post("/v1/tenants", {"name": "Flooded"})["id"])
    owner = parse_id(Prefix.TENANT, tenant)
    key = str(operator.post(f"/v1/tenants/{tenant}/keys", {"name": "flood"})["key"])
    with Partner() as partner:
        partner.answer = lambda _call: _answer_and_forget(partner)
        endpoint = {"url": partner.url, "filter": ["flood.*"]}
        operator.post("/v1/endpoints", endpoint, Waybill_Tenant=tenant)
        asyncio.run(_measure_sustained(ground, OverloadClient(ground.ports["web"], key), found, owner))
        gentle = found.answers.copy()
        asyncio.run(_post_twice_sustained(ground, OverloadClient(ground.ports["web"], key), found, owner))
        began = time.monotonic()
        wait_until(
            lambda: not _count_waiting(ground, owner), "the flood to drain", seconds=DRAIN_TIMEOUT_SECONDS
        )
        found.drain_seconds = time.monotonic() - began
    _check_result(ground, owner, found, gentle[202] + found.answers[202])
    return found


def _answer_and_forget(partner: Partner) -> CannedResponse:
    partner.calls.clear()
    return CannedResponse()


async def _measure_sustained(
    ground: ChaosEnvironment, load: OverloadClient, found: OverloadReport, owner: UUID
) -> None:
    calm = True

    async def watch() -> None:
        nonlocal calm
        while True:
            calm = await asyncio.to_thread(_count_waiting, ground, owner) < MAX_CALM_BACKLOG
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await load.post(MEASURED_SECONDS, can_post=lambda: calm)
    watching.cancel()
    found.answers = load.answers
    found.sustained = load.answers[202] / MEASURED_SECONDS


async def _post_twice_sustained(
    ground: ChaosEnvironment, load: OverloadClient, found: OverloadReport, owner: UUID
) -> None:
    async def watch() -> None:
        while True:
            found.peak_mib = max(found.peak_mib, *map(_read_mib, _list_pids(ground)))
            found.peak_waiting = max(
                found.peak_waiting, await asyncio.to_thread(_count_waiting, ground, owner)
            )
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    await load.post(FLOOD_SECONDS, rate=2 * found.sustained, can_post=bool)
    watching.cancel()
    found.answers = load.answers
    found.with_retry_after = load.with_retry_after
    found.posted = load.answers.total() / FLOOD_SECONDS


def _check_result(ground: ChaosEnvironment, owner: UUID, found: OverloadReport, accepted: int) -> None:
    with ground.connect() as sql:
        row = sql.execute(
            "select (select count(*) from events where tenant_id = %(tenant)s), count(*), "
            "count(*) filter (where status = 'succeeded') from deliveries where tenant_id = %(tenant)s",
            {"tenant": owner},
        ).fetchone()
    events, owed, succeeded = row or (0, 0, 0)
    if not accepted == events == owed == succeeded:
        found.errors.append(
            f"of {accepted:,} accepted events {events:,} are in the ledger, {owed:,} owed, {succeeded:,} done"
        )
    if unforeseen := found.answers.keys() - _ALLOWED_STATUSES:
        found.errors.append(f"producers were answered {sorted(unforeseen)}")
    if found.with_retry_after < found.answers.total() - found.answers[202]:
        found.errors.append("some who were refused were not told when to try again")
    if found.peak_mib > MAX_PROCESS_MIB:
        found.errors.append(f"a process had {found.peak_mib:.0f} MiB")


def _count_waiting(ground: ChaosEnvironment, owner: UUID) -> int:
    with ground.connect() as sql:
        found = sql.execute("select count(*) from schedule where tenant_id = %s", (owner,)).fetchone()
    return 0 if found is None else int(found[0])


def _list_pids(ground: ChaosEnvironment) -> list[int]:
    roots = [psutil.Process(ground.stack.get_pid(name)) for name in PROCESSES]
    return [one.pid for root in roots for one in (root, *root.children(recursive=True))]


def _read_mib(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / (1 << 20)
    except psutil.NoSuchProcess:
        return 0.0
