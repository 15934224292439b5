"""Exports from a real database."""

from __future__ import annotations

import csv
import gc
import io
import json
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.services.exports.rows import ExportFormat
from delivery.services.exports.service import ExportService
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Ledger

ALL = DeliveryFilter()


def exports(ledger: Ledger, *, at_once: int = 2) -> ExportService:
    return ExportService(ledger, clock=clock, default_max_in_flight=50, batch_size=at_once)


async def written(pieces: AsyncIterator[tuple[int, bytes]]) -> bytes:
    return b"".join([piece async for _, piece in pieces])


def documents(jsonl: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in jsonl.splitlines()]


def table(written_csv: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written_csv.decode(), newline="")))


async def some_life(ledger: Ledger) -> tuple[TenantId, EndpointId]:
    """Nine deliveries: one tried five times and one once, of which it failed; two delivered; five waiting."""
    tenant = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 4)
    for _ in range(4):
        claim_id, works = await build.claim_and_start(ledger, endpoint)
        first, *others = works
        results = [build.make_success(work, claim_id) for work in others[:2]]
        results += [build.make_failure(work, claim_id) for work in others[2:]]
        await build.record_results(ledger, build.make_retry(first, claim_id), *results)
    claim_id, (first,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_failure(first, claim_id))
    await build.accept_events(ledger, tenant, 5)
    return tenant, endpoint


async def test_delivery_exports_match_the_database_in_both_formats(ledger: Ledger) -> None:
    tenant, _ = await some_life(ledger)
    rows = await build.fetch_rows(
        ledger, "select * from deliveries where tenant_id = :tenant order by id", tenant=tenant
    )
    found = documents(await written(exports(ledger).export_deliveries(tenant, ALL, ExportFormat.JSONL)))
    assert [item["id"] for item in found] == [format_id(Prefix.DELIVERY, row.id) for row in rows]
    assert [item["status"] for item in found] == [row.status for row in rows]
    assert [item["attempts"] for item in found] == [row.attempts for row in rows]
    same = table(await written(exports(ledger).export_deliveries(tenant, ALL, ExportFormat.CSV)))
    assert same == [
        {name: "" if value is None else str(value) for name, value in item.items()} for item in found
    ]


async def test_attempt_exports_have_every_attempt_once(ledger: Ledger) -> None:
    tenant, endpoint = await some_life(ledger)
    rows = await build.fetch_rows(
        ledger,
        "select id from attempts where endpoint_id = :endpoint order by delivery_id, id",
        endpoint=endpoint,
    )
    assert len(rows) == 8
    found: list[dict[str, Any]] = []
    for at_once in (1, 2, 3, 100):
        pieces = exports(ledger, at_once=at_once).export_attempts(tenant, ALL, ExportFormat.JSONL)
        found = documents(await written(pieces))
        assert [item["id"] for item in found] == [format_id(Prefix.ATTEMPT, row.id) for row in rows]
    same = table(await written(exports(ledger).export_attempts(tenant, ALL, ExportFormat.CSV)))
    assert [(item["id"], item["number"], item["outcome"]) for item in same] == [
        (item["id"], str(item["number"]), item["outcome"]) for item in found
    ]
    assert json.loads(same[0]["request_headers"]) == found[0]["request_headers"]


async def test_filters_apply_to_exports(ledger: Ledger) -> None:
    tenant, _ = await some_life(ledger)
    failed = DeliveryFilter(statuses=(DeliveryStatus.FAILED,))
    found = documents(await written(exports(ledger).export_deliveries(tenant, failed, ExportFormat.JSONL)))
    assert [attempt["status"] for attempt in found] == ["failed", "failed"]
    attempts = documents(await written(exports(ledger).export_attempts(tenant, failed, ExportFormat.JSONL)))
    assert {attempt["delivery_id"] for attempt in attempts} == {attempt["id"] for attempt in found}


async def test_a_tenant_exports_only_its_own_rows(ledger: Ledger) -> None:
    await some_life(ledger)
    stranger = await build.create_tenant(ledger)
    for export in (exports(ledger).export_deliveries, exports(ledger).export_attempts):
        assert await written(export(stranger, ALL, ExportFormat.JSONL)) == b""


async def test_an_empty_export_has_a_header(ledger: Ledger) -> None:
    nobody = await build.create_tenant(ledger)
    found = await written(exports(ledger).export_deliveries(nobody, ALL, ExportFormat.CSV))
    assert found.startswith(b"id,tenant_id,event_id,")
    assert found.count(b"\r\n") == 1


async def test_rows_created_during_an_export_are_left_out(ledger: Ledger) -> None:
    tenant = await build.create_tenant(ledger)
    await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 5)
    tomorrow = DeliveryFilter(until=clock() + timedelta(days=1))
    pieces = exports(ledger).export_deliveries(tenant, tomorrow, ExportFormat.JSONL)
    count = 0
    async for number, _ in pieces:
        count += number
        await build.accept_events(ledger, tenant, 1)
    assert count <= 6  # the delivery created in the same millisecond as the export


async def test_a_slow_client_holds_no_connection(shared_url: str) -> None:
    async with build.open_ledger(shared_url, pool_size=1) as ledger:
        tenant = await build.create_tenant(ledger)
        await build.create_endpoint(ledger, tenant)
        await build.accept_events(ledger, tenant, 5)
        count = 0
        async for number, _ in exports(ledger).export_deliveries(tenant, ALL, ExportFormat.JSONL):
            count += number
            await build.count_rows(ledger, "deliveries")
        assert count == 5


_MANY = """
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, status, created_at, finished_at)
    select cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as bigint) - 60000 + n), 12, '0') || '7000'
                || '8000' || lpad(to_hex(n), 12, '0') as uuid),
           :tenant, :event, :tenant, 'order.created', 'succeeded', now(), now()
    from generate_series(1, cast(:count as int)) as n
"""


@pytest.fixture
def _prompt_gc() -> Iterator[None]:
    # Commands and workers that other tests ran in this process collect less often, and garbage would count.
    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*thresholds)


async def _peak(ledger: Ledger, count: int) -> int:
    tenant = TenantId(new_id())
    await build.execute(ledger, _MANY, tenant=tenant, event=new_id(), count=count)
    total = 0
    tracemalloc.start()
    try:
        async for number, _ in exports(ledger, at_once=500).export_deliveries(tenant, ALL, ExportFormat.CSV):
            total += number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert total == count


@pytest.mark.usefixtures("_prompt_gc")
async def test_memory_does_not_grow_with_the_rows(own_ledger: Ledger) -> None:
    await _peak(own_ledger, 400)  # cached once: statements and their plans
    assert await _peak(own_ledger, 20_000) < 1.5 * await _peak(own_ledger, 2_000) + 100_000
