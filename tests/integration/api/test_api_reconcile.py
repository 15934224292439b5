"""Reconciliation: paging through an endpoint's deliveries by sequence number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from delivery.domain.ids import EndpointId, Prefix, parse_id
from delivery.ledger.db.session import Ledger
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def ledger(api_database_url: str) -> AsyncIterator[Ledger]:
    """The API's database, as relay and worker use it."""
    opened = Ledger(api_database_url, pool_size=2)
    yield opened
    await opened.close()


async def endpoint_of(tenant: TenantClient) -> str:
    return str((await tenant.create_endpoint(in_flight_max=100))["id"])


async def sent(ledger: Ledger, endpoint: str) -> None:
    """Deliver everything that is due for an endpoint."""
    id_ = EndpointId(parse_id(Prefix.ENDPOINT, endpoint))
    await build.execute(ledger, "update endpoint_health set limit_now = 100 where endpoint_id = :id", id=id_)
    claim_id, works = await build.claim_and_start(ledger, id_)
    await build.record_results(ledger, *[build.make_success(work, claim_id) for work in works])


async def page(client: httpx.AsyncClient, endpoint: str, **requested: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/endpoints/{endpoint}/events", params=requested)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_sent_deliveries_are_listed_in_order_with_their_status(
    tenant: TenantClient, ledger: Ledger
) -> None:
    endpoint = await endpoint_of(tenant)
    events = [await tenant.send_event(f"order.{name}") for name in ("created", "paid", "shipped")]
    assert await page(tenant.client, endpoint) == {"items": [], "next": None, "earliest": None, "latest": 0}
    await sent(ledger, endpoint)
    output = await page(tenant.client, endpoint)
    assert (output["next"], output["earliest"], output["latest"]) == (None, 1, 3)
    assert [item["sequence"] for item in output["items"]] == [1, 2, 3]
    assert [item["event_id"] for item in output["items"]] == [event["id"] for event in events]
    first = output["items"][0]
    assert first.keys() == {
        *("sequence", "event_id", "event_type", "delivery_id", "status", "attempts"),
        *("created_at", "finished_at"),
    }
    assert (first["event_type"], first["status"], first["attempts"]) == ("order.created", "succeeded", 1)
    assert first["finished_at"] is not None
    (of_first,) = await tenant.list_deliveries(event=events[0]["id"])
    assert (of_first["id"], of_first["sequence"]) == (first["delivery_id"], 1)


async def test_pages_continue_after_the_last_number(tenant: TenantClient, ledger: Ledger) -> None:
    endpoint = await endpoint_of(tenant)
    for _ in range(5):
        await tenant.send_event()
    await sent(ledger, endpoint)
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        output = await page(tenant.client, endpoint, after=after, limit=2)
        seen += [item["sequence"] for item in output["items"]]
        assert output["latest"] == 5
        after = output["next"]
    assert seen == [1, 2, 3, 4, 5]
    assert (await page(tenant.client, endpoint, after=5))["items"] == []
    assert (await page(tenant.client, endpoint, after=2**63 - 1))["items"] == []


async def test_a_delivery_at_a_worker_is_in_flight(tenant: TenantClient, ledger: Ledger) -> None:
    endpoint = await endpoint_of(tenant)
    await tenant.send_event()
    await build.claim_and_start(ledger, EndpointId(parse_id(Prefix.ENDPOINT, endpoint)))
    (item,) = (await page(tenant.client, endpoint))["items"]
    assert (item["status"], item["attempts"], item["finished_at"]) == ("in_flight", 0, None)


async def test_a_replay_keeps_its_number(tenant: TenantClient, ledger: Ledger) -> None:
    endpoint = await endpoint_of(tenant)
    await tenant.send_event()
    await sent(ledger, endpoint)
    ((item,), _) = [(await page(tenant.client, endpoint))[name] for name in ("items", "latest")]
    replayed = await tenant.client.post(f"/v1/deliveries/{item['delivery_id']}/replay")
    assert replayed.json()["sequence"] == 1
    await tenant.send_event()
    await sent(ledger, endpoint)
    output = await page(tenant.client, endpoint)
    assert [(item["sequence"], item["attempts"]) for item in output["items"]] == [(1, 2), (2, 1)]
    assert output["latest"] == 2


async def test_reconciliation_reports_the_earliest_kept_sequence(
    tenant: TenantClient, ledger: Ledger, sql: psycopg.Connection
) -> None:
    endpoint = await endpoint_of(tenant)
    for _ in range(4):
        await tenant.send_event()
    await sent(ledger, endpoint)
    items = (await page(tenant.client, endpoint))["items"]
    for item in items[:2]:
        id_ = parse_id(Prefix.DELIVERY, item["delivery_id"])
        sql.execute("delete from endpoint_sequence where delivery_id = %s", [id_])
    output = await page(tenant.client, endpoint)
    assert ([item["sequence"] for item in output["items"]], output["earliest"]) == ([3, 4], 3)
    # A delivery may be deleted shortly before its number; pages must still reach the end.
    sql.execute("delete from deliveries where id = %s", [parse_id(Prefix.DELIVERY, items[2]["delivery_id"])])
    output = await page(tenant.client, endpoint, limit=1)
    assert (output["items"], output["next"]) == ([], 3)
    assert [item["sequence"] for item in (await page(tenant.client, endpoint, after=3))["items"]] == [4]


async def test_each_endpoint_has_its_own_sequence(tenant: TenantClient, ledger: Ledger) -> None:
    row, other = await endpoint_of(tenant), await endpoint_of(tenant)
    await tenant.send_event()
    for endpoint in (row, other):
        await sent(ledger, endpoint)
        assert [item["sequence"] for item in (await page(tenant.client, endpoint))["items"]] == [1]


async def test_deleted_and_other_tenants_endpoints_are_not_found(
    tenant: TenantClient, other_tenant: TenantClient
) -> None:
    endpoint = await endpoint_of(tenant)
    path = f"/v1/endpoints/{endpoint}/events"
    assert (await other_tenant.client.get(path)).status_code == 404
    await tenant.client.delete(f"/v1/endpoints/{endpoint}")
    assert (await tenant.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("after", value) for value in ("-1", "x", "1.5", "", "null", str(2**63), "9" * 5_000)),
        *(("limit", value) for value in ("0", "-1", "101", "x", "1e2", "")),
        ("cursor", "abc"),
        ("nonsense", "1"),
    ],
)
async def test_invalid_parameters_are_named(tenant: TenantClient, name: str, value: str) -> None:
    endpoint = await endpoint_of(tenant)
    answer = await tenant.client.get(f"/v1/endpoints/{endpoint}/events", params={name: value})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [name]
