"""Exports of a real ledger."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from delivery.bootstrap import clock
from delivery.exporting import Exports, Format
from delivery.model import DeliveryStatus, Prefix, TenantId, new_id, show_id
from delivery.selection import DeliverySelection
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger import Ledger
    from delivery.model import EndpointId

ALL = DeliverySelection()


def exports(ledger: Ledger, *, at_once: int = 2) -> Exports:
    return Exports(ledger, clock=clock, in_flight=50, at_once=at_once)


async def written(pieces: AsyncIterator[tuple[int, bytes]]) -> bytes:
    return b"".join([piece async for _, piece in pieces])


def documents(jsonl: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in jsonl.splitlines()]


def table(written_csv: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written_csv.decode(), newline="")))


async def some_life(ledger: Ledger) -> tuple[TenantId, EndpointId]:
    """Nine deliveries: one tried five times and one once, of which it failed; two delivered; five waiting."""
    tenant = await on.new_tenant(ledger)
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 4)
    for _ in range(4):
        claim_id, works = await on.claim_and_start(ledger, endpoint)
        first, *others = works
        results = [on.success(work, claim_id) for work in others[:2]]
        results += [on.failure(work, claim_id) for work in others[2:]]
        await on.record(ledger, on.again(first, claim_id), *results)
    claim_id, (first,) = await on.claim_and_start(ledger, endpoint)
    await on.record(ledger, on.failure(first, claim_id))
    await on.accept_many(ledger, tenant, 5)
    return tenant, endpoint


async def test_deliveries_are_what_the_ledger_says_in_both_formats(ledger: Ledger) -> None:
    tenant, _ = await some_life(ledger)
    rows = await on.rows(
        ledger, "select * from deliveries where tenant_id = :tenant order by id", tenant=tenant
    )
    found = documents(await written(exports(ledger).deliveries(tenant, ALL, Format.JSONL)))
    assert [one["id"] for one in found] == [show_id(Prefix.DELIVERY, row.id) for row in rows]
    assert [one["status"] for one in found] == [row.status for row in rows]
    assert [one["attempts"] for one in found] == [row.attempts for row in rows]
    same = table(await written(exports(ledger).deliveries(tenant, ALL, Format.CSV)))
    assert same == [
        {name: "" if value is None else str(value) for name, value in one.items()} for one in found
    ]


async def test_attempts_are_all_there_each_once_however_many_a_delivery_has(ledger: Ledger) -> None:
    tenant, endpoint = await some_life(ledger)
    rows = await on.rows(
        ledger,
        "select id from attempts where endpoint_id = :endpoint order by delivery_id, id",
        endpoint=endpoint,
    )
    assert len(rows) == 8
    found: list[dict[str, Any]] = []
    for at_once in (1, 2, 3, 100):
        pieces = exports(ledger, at_once=at_once).attempts(tenant, ALL, Format.JSONL)
        found = documents(await written(pieces))
        assert [one["id"] for one in found] == [show_id(Prefix.ATTEMPT, row.id) for row in rows]
    same = table(await written(exports(ledger).attempts(tenant, ALL, Format.CSV)))
    assert [(one["id"], one["number"], one["outcome"]) for one in same] == [
        (one["id"], str(one["number"]), one["outcome"]) for one in found
    ]
    assert json.loads(same[0]["request_headers"]) == found[0]["request_headers"]


async def test_filters_choose_what_is_exported(ledger: Ledger) -> None:
    tenant, _ = await some_life(ledger)
    failed = DeliverySelection(statuses=(DeliveryStatus.FAILED,))
    found = documents(await written(exports(ledger).deliveries(tenant, failed, Format.JSONL)))
    assert [one["status"] for one in found] == ["failed", "failed"]
    attempts = documents(await written(exports(ledger).attempts(tenant, failed, Format.JSONL)))
    assert {one["delivery_id"] for one in attempts} == {one["id"] for one in found}


async def test_a_tenant_exports_nothing_of_another(ledger: Ledger) -> None:
    await some_life(ledger)
    stranger = await on.new_tenant(ledger)
    for export in (exports(ledger).deliveries, exports(ledger).attempts):
        assert await written(export(stranger, ALL, Format.JSONL)) == b""


async def test_an_export_of_nothing_still_has_the_titles_of_its_columns(ledger: Ledger) -> None:
    nobody = await on.new_tenant(ledger)
    found = await written(exports(ledger).deliveries(nobody, ALL, Format.CSV))
    assert found.startswith(b"id,tenant_id,event_id,")
    assert found.count(b"\r\n") == 1


async def test_what_is_made_while_an_export_is_read_is_not_in_it(ledger: Ledger) -> None:
    tenant = await on.new_tenant(ledger)
    await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 5)
    tomorrow = DeliverySelection(until=clock() + timedelta(days=1))
    pieces = exports(ledger).deliveries(tenant, tomorrow, Format.JSONL)
    count = 0
    async for number, _ in pieces:
        count += number
        await on.accept_many(ledger, tenant, 1)
    assert count <= 6  # the one that came in the millisecond in which it began


async def test_a_reader_who_takes_long_holds_no_connection(shared_url: str) -> None:
    async with on.opened(shared_url, pool_size=1) as ledger:
        tenant = await on.new_tenant(ledger)
        await on.new_endpoint(ledger, tenant)
        await on.accept_many(ledger, tenant, 5)
        count = 0
        async for number, _ in exports(ledger).deliveries(tenant, ALL, Format.JSONL):
            count += number
            await on.count(ledger, "deliveries")
        assert count == 5


_MANY = """
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, status, created_at, finished_at)
    select cast(lpad(to_hex(cast(extract(epoch from now()) * 1000 as bigint) - 60000 + n), 12, '0') || '7000'
                || '8000' || lpad(to_hex(n), 12, '0') as uuid),
           :tenant, :event, :tenant, 'order.created', 'succeeded', now(), now()
    from generate_series(1, cast(:count as int)) as n
"""


async def _peak(ledger: Ledger, count: int) -> int:
    tenant = TenantId(new_id())
    await on.change(ledger, _MANY, tenant=tenant, event=new_id(), count=count)
    total = 0
    tracemalloc.start()
    try:
        async for number, _ in exports(ledger, at_once=500).deliveries(tenant, ALL, Format.CSV):
            total += number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert total == count


async def test_memory_does_not_follow_the_number_of_rows(own_ledger: Ledger) -> None:
    await _peak(own_ledger, 400)  # what is kept once: statements, their plans
    assert await _peak(own_ledger, 20_000) < 1.5 * await _peak(own_ledger, 2_000) + 100_000
