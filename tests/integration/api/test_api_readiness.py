"""Health, the OpenAPI document, and behaviour without a database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from delivery.api.app import create_app
from delivery.api.http.request_limits import BoundedHeadProtocol
from delivery.bootstrap import Services
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.db.session import Ledger
from tests.integration.api.conftest import OPERATOR_KEY, make_client
from tests.support.ledger_builders import create_tenant

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import httpx
    from fastapi import FastAPI

    from delivery.config import Settings

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOWHERE = "postgresql://waybill:hush@127.0.0.1:1/nowhere"


async def test_a_healthy_process_is_alive_and_ready(anonymous: httpx.AsyncClient):
    assert (await anonymous.get("/healthz")).json() == {"status": "ok"}
    assert (await anonymous.get("/readyz")).json() == {"status": "ok"}


async def test_without_a_database_a_process_is_alive_but_not_ready(settings: Settings):
    ledger = Ledger(NOWHERE)
    async with make_client(create_app(Services(settings, ledger)), OPERATOR_KEY) as client:
        assert (await client.get("/healthz")).status_code == 200
        for method, path in (("GET", "/readyz"), ("GET", "/v1/tenants"), ("POST", "/v1/tenants")):
            refused = await client.request(method, path, json={"name": "x"} if method == "POST" else None)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/problem+json"
            assert "127.0.0.1" not in refused.text
            assert "hush" not in refused.text
    await ledger.close()


async def test_an_event_that_cannot_be_committed_is_not_accepted(settings: Settings):
    ledger = Ledger(NOWHERE)
    named = {"Waybill-Tenant": "ten_01kasw8qbefy09m6sc7n75yr3h"}
    async with make_client(create_app(Services(settings, ledger)), OPERATOR_KEY, **named) as client:
        refused = await client.post("/v1/events", json={"type": "a", "data": 1})
        assert refused.status_code == 503
    await ledger.close()


async def test_a_ledger_without_schema_is_not_ready(settings: Settings, empty_database_url: str):
    ledger = Ledger(empty_database_url)
    async with make_client(create_app(Services(settings, ledger)), None) as client:
        assert (await client.get("/readyz")).status_code == 503
    await ledger.close()


async def test_a_ledger_without_todays_partitions_is_not_ready(settings: Settings, database_url: str):
    ledger = Ledger(database_url)
    async with make_client(create_app(Services(settings, ledger)), None) as client:
        assert (await client.get("/readyz")).status_code == 503
    await ledger.close()


@pytest.mark.parametrize("made", ["empty_database_url", "database_url"], ids=["schema", "partitions"])
async def test_missing_schema_or_partitions_reject_events_and_log_the_fix(
    settings: Settings, request: pytest.FixtureRequest, log_lines: list[MutableMapping[str, Any]], made: str
):
    ledger = Ledger(request.getfixturevalue(made))
    named = {"Waybill-Tenant": "ten_01kasw8qbefy09m6sc7n75yr3h"}
    async with make_client(create_app(Services(settings, ledger)), OPERATOR_KEY, **named) as client:
        if made == "database_url":
            client.headers["Waybill-Tenant"] = format_id(Prefix.TENANT, await create_tenant(ledger))
        refused = await client.post("/v1/events", json={"type": "a", "data": 1})
    assert refused.status_code == 503
    (line,) = [line for line in log_lines if line["event"] == "request.unavailable"]
    assert "waybill db upgrade" in line["why"]
    await ledger.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000, 431),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 7_000, 431),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 60_000 + b"\r\n\r\n", 200),
        ((b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n") * 3, 200),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
    ids=["a long header", "many headers", "a header within bounds", "requests one after another", "TLS"],
)
async def test_oversized_or_malformed_request_head_gets_a_problem_response(
    app: FastAPI, sent: bytes, status: int
):
    config = uvicorn.Config(
        app, http=BoundedHeadProtocol, log_config=None, log_level="critical", lifespan="off"
    )
    config.load()
    serving = await asyncio.get_running_loop().create_server(
        lambda: BoundedHeadProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    async with serving:
        reader, writer = await asyncio.open_connection(*serving.sockets[0].getsockname())
        writer.write(sent)
        writer.write_eof()
        result = (await reader.read()).decode() if status != 200 else (await reader.readline()).decode()
        assert result.startswith(f"HTTP/1.1 {status} ")
        assert ("content-type: application/problem+json" in result) == (status != 200)
        writer.close()
        await writer.wait_closed()


async def test_the_document_describes_requests_with_examples(anonymous: httpx.AsyncClient):
    document = (await anonymous.get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    assert scheme["type"] == "http"
    assert scheme["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}
            body = operation.get("requestBody")
            if body is not None:
                assert _has_example(document, body["content"]["application/json"]), (method, path)
    identifiers = [o["operationId"] for operations in document["paths"].values() for o in operations.values()]
    assert len(set(identifiers)) == len(identifiers)


def _has_example(document: dict[str, Any], media: dict[str, Any]) -> bool:
    text = str(media)
    schemas = document["components"]["schemas"]
    return "example" in text or any(
        "examples" in str(schema) for name, schema in schemas.items() if f"/{name}'" in text
    )


async def test_the_document_has_html_pages(anonymous: httpx.AsyncClient):
    page = await anonymous.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text


async def test_an_unexpected_error_is_logged_with_the_request_id(
    services: Services, log_lines: list[MutableMapping[str, Any]]
):
    app = create_app(services)
    app.state.services = None
    async with make_client(app, None) as client:
        failed = await client.get("/v1/tenants", headers={"Authorization": "Bearer x"})
    assert failed.status_code == 500
    assert failed.json()["request_id"] == failed.headers["x-request-id"]
    assert failed.json()["detail"].startswith("The request failed.")
    (line,) = [line for line in log_lines if line["event"] == "request.failed"]
    assert line["request_id"] == failed.json()["request_id"]
    assert line["exc_info"]
