"""A cursor is valid only for the list that issued it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _cursor(tenant: TenantClient, path: str = "/v1/deliveries", **filters: str) -> str:
    listed = await tenant.client.get(path, params={"limit": "1", **filters})
    return str(listed.json()["next"])


@pytest_asyncio.fixture(loop_scope="session")
async def busy(tenant: TenantClient) -> TenantClient:
    await tenant.create_endpoint()
    for _ in range(3):
        await tenant.send_event()
    return tenant


@pytest.mark.parametrize("position", [0, 1, 10, 20, 21, 22, 30, 39])
async def test_a_cursor_with_one_letter_changed_is_refused(busy: TenantClient, position: int):
    cursor = await _cursor(busy)
    other = "A" if cursor[position] != "A" else "B"
    forged = cursor[:position] + other + cursor[position + 1 :]
    refused = await busy.client.get("/v1/deliveries", params={"cursor": forged})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize("changed", ["{}=", "{}\n", " {}", "{}A", "{}%00"])
async def test_an_extended_cursor_is_refused(busy: TenantClient, changed: str):
    forged = changed.format(await _cursor(busy))
    assert (await busy.client.get("/v1/deliveries", params={"cursor": forged})).status_code == 422


async def test_a_cursor_is_bound_to_its_filters(busy: TenantClient):
    pending = await _cursor(busy, status="pending")
    same = {"status": "pending", "cursor": pending}
    assert (await busy.client.get("/v1/deliveries", params=same)).status_code == 200
    assert (await busy.client.get("/v1/deliveries", params={**same, "limit": "7"})).status_code == 200
    assert (await busy.client.get("/v1/deliveries", params={"cursor": pending})).status_code == 422
    assert (await busy.client.get("/v1/deliveries", params={**same, "status": "failed"})).status_code == 422


async def test_a_cursor_is_bound_to_its_list(busy: TenantClient):
    cursor = await _cursor(busy)
    assert (await busy.client.get("/v1/events", params={"cursor": cursor})).status_code == 422
    assert (await busy.client.get("/v1/endpoints", params={"cursor": cursor})).status_code == 422


async def test_a_cursor_is_bound_to_its_tenant(
    busy: TenantClient, other_tenant: TenantClient, operator: httpx.AsyncClient
):
    cursor = {"cursor": await _cursor(busy)}
    assert (await other_tenant.client.get("/v1/deliveries", params=cursor)).status_code == 422
    mine, theirs = {"Waybill-Tenant": busy.id}, {"Waybill-Tenant": other_tenant.id}
    assert (await operator.get("/v1/deliveries", params=cursor, headers=mine)).status_code == 200
    assert (await operator.get("/v1/deliveries", params=cursor, headers=theirs)).status_code == 422
