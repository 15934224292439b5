"""Exports over HTTP."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from delivery.api.app import create_app
from delivery.clock import clock
from delivery.ledger.db.session import Ledger
from delivery.services.exports.service import ExportService
from tests.support.services import replace_services

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import httpx
    import psycopg

    from delivery.bootstrap import Services
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


LONG_AGO = "2020-01-01T00:00:00Z"


async def exported(
    client: httpx.AsyncClient, action: str = "deliveries", **query: str
) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/exports/{action}", params={"since": LONG_AGO} | query)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_an_export_has_all_listed_rows_oldest_first(tenant: TenantClient) -> None:
    await tenant.create_endpoint()
    for _ in range(3):
        await tenant.send_event()
    listed = await tenant.list_deliveries()
    found = await exported(tenant.client)
    assert [item["id"] for item in found] == [item["id"] for item in reversed(listed)]
    assert {name: found[-1][name] for name in found[-1]} == {name: listed[0][name] for name in found[-1]}


async def test_csv_is_an_attachment(tenant: TenantClient) -> None:
    await tenant.create_endpoint()
    await tenant.send_event()
    answer = await tenant.client.get("/v1/exports/deliveries", params={"format": "csv", "since": LONG_AGO})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="deliveries.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (row["status"], row["event_type"]) == ("pending", "order.created")


async def test_exports_take_the_filters_of_the_search(tenant: TenantClient) -> None:
    await tenant.create_endpoint()
    await tenant.send_event("order.created")
    await tenant.send_event("user.left")
    assert [item["event_type"] for item in await exported(tenant.client, type="user.*")] == ["user.left"]
    assert await exported(tenant.client, status="failed") == []
    assert await exported(tenant.client, "attempts") == []


@pytest.mark.parametrize(
    ("field", "value"), [("format", "xlsx"), ("status", "gone"), ("type", "order.*.x"), ("limit", "5")]
)
async def test_invalid_limits_name_their_field(tenant: TenantClient, field: str, value: str) -> None:
    answer = await tenant.client.get("/v1/exports/attempts", params={field: value})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_unfiltered_export_needs_confirmation_and_the_operator_key(
    tenant: TenantClient, operator: httpx.AsyncClient
) -> None:
    for what in ("deliveries", "attempts"):
        path = f"/v1/exports/{what}"
        refused = await tenant.client.get(path)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "selection")
        assert (await tenant.client.get(path, params={"all": "true"})).status_code == 403
        assert (await operator.get(path)).status_code == 422
        assert (await operator.get(path, params={"all": "true"})).status_code == 200


async def test_a_tenant_exports_its_own_rows_and_the_operator_all(
    tenant: TenantClient, other_tenant: TenantClient, operator: httpx.AsyncClient
) -> None:
    for owner in (tenant, other_tenant):
        await owner.create_endpoint()
        await owner.send_event("both.sent")
    assert [item["tenant_id"] for item in await exported(tenant.client)] == [tenant.id]
    everybodys = {item["tenant_id"] for item in await exported(operator, type="both.sent")}
    assert everybodys >= {tenant.id, other_tenant.id}


async def test_a_failed_export_ends_without_a_proper_end(
    tenant: TenantClient, services: Services, api_database_url: str, sql: psycopg.Connection
) -> None:
    await tenant.create_endpoint()
    for _ in range(3):
        await tenant.send_event()
    ledger = Ledger(api_database_url, pool_size=1, application_name="waybill export")
    short = ExportService(ledger, clock=clock, default_max_in_flight=50, batch_size=1)
    app = create_app(replace_services(services, exports=short))
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            sql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
                ["waybill export"],
            )

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/exports/deliveries",
        "raw_path": b"/v1/exports/deliveries",
        "query_string": b"type=*",
        "headers": [(b"authorization", f"Bearer {tenant.key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("waybill", 80),
    }
    with pytest.raises(RuntimeError):
        await app(scope, receive, send)
    await ledger.close()
    assert sent[0]["status"] == 200
    assert all(message["more_body"] for message in sent[1:])
