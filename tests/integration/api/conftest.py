"""The application on a real database, called in process and shared; every test has its own tenants."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
import structlog

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.config import Settings, parse_settings
from delivery.domain.secret_box import generate_key
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping

    import psycopg
    from fastapi import FastAPI


OPERATOR_KEY = "operator-key-for-tests-only"
SECRET_KEYS = generate_key()


@dataclass(frozen=True, slots=True)
class TenantClient:
    """A tenant with a key, and a client that uses it."""

    id: str
    key: str
    client: httpx.AsyncClient

    async def create_endpoint(self, **changed: object) -> dict[str, Any]:
        """Create an endpoint."""
        created = await self.client.post("/v1/endpoints", json={"url": "https://shop.example/in", **changed})
        assert created.status_code == 201, created.text
        return dict(created.json())

    async def post(self, path: str, body: object) -> httpx.Response:
        """Send ASCII JSON, so that lone surrogates arrive too."""
        return await self.client.post(
            path, content=json.dumps(body), headers={"Content-Type": "application/json"}
        )

    async def send_event(self, type_: str = "order.created", **headers: str) -> dict[str, Any]:
        """Send an event."""
        sent = await self.client.post("/v1/events", json={"type": type_, "data": {"n": 1}}, headers=headers)
        assert sent.status_code == 202, sent.text
        return dict(sent.json())

    async def list_deliveries(self, **filters: str) -> list[dict[str, Any]]:
        """List deliveries."""
        listed = await self.client.get("/v1/deliveries", params=filters)
        assert listed.status_code == 200, listed.text
        return list(listed.json()["items"])


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log entries of this test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture(scope="session")
def api_database_url(database_server: postgres.DatabaseServer, migrated_template: str) -> Iterator[str]:
    """One migrated database for all tests of the API, with today's partitions."""
    with database_server.database(template=migrated_template) as url:
        asyncio.run(_make_partitions(url))
        yield url


async def _make_partitions(url: str) -> None:
    ledger = Ledger(url)
    async with ledger.transaction() as tx:
        await partitions.ensure_partitions(tx, now=datetime.now(UTC))
    await ledger.close()


@pytest.fixture
def sql(api_database_url: str) -> Iterator[psycopg.Connection]:
    """A plain database connection, for changes that no API offers."""
    with postgres.connect(api_database_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def settings(api_database_url: str) -> Settings:
    """Settings as an operator might have them."""
    return parse_settings(
        {"database_url": api_database_url, "secret_keys": SECRET_KEYS, "operator_key": OPERATOR_KEY}
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services(settings: Settings, api_database_url: str) -> AsyncIterator[Services]:
    """The services, on the database."""
    wired = Services(settings, Ledger(api_database_url, pool_size=4))
    yield wired
    await wired.close()


@pytest.fixture(scope="session")
def app(services: Services) -> FastAPI:
    """The application."""
    return create_app(services)


def make_client(app: FastAPI, key: str | None, **headers: str) -> httpx.AsyncClient:
    """A client that sends this key."""
    known = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://waybill", headers=known | headers
    )


@pytest_asyncio.fixture(loop_scope="session")
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any key."""
    async with make_client(app, None) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the operator's key."""
    async with make_client(app, OPERATOR_KEY) as client:
        yield client


async def _create_tenant(app: FastAPI, operator: httpx.AsyncClient, name: str) -> TenantClient:
    tenant = (await operator.post("/v1/tenants", json={"name": name})).json()
    key = (await operator.post(f"/v1/tenants/{tenant['id']}/keys", json={"name": "tests"})).json()
    return TenantClient(tenant["id"], key["key"], make_client(app, key["key"]))


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(app: FastAPI, operator: httpx.AsyncClient) -> AsyncIterator[TenantClient]:
    """A tenant of this test only."""
    created = await _create_tenant(app, operator, "Acme")
    async with created.client:
        yield created


@pytest_asyncio.fixture(loop_scope="session")
async def other_tenant(app: FastAPI, operator: httpx.AsyncClient) -> AsyncIterator[TenantClient]:
    """Another tenant of this test only."""
    created = await _create_tenant(app, operator, "Neighbour")
    async with created.client:
        yield created
