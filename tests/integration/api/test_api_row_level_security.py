"""Every tenant route runs under the database role with row-level security."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.domain.ids import Prefix, parse_id
from delivery.ledger.db.session import Ledger
from tests.integration.api.conftest import make_client
from tests.integration.api.test_api_isolation import OPEN, routes
from tests.integration.api.test_api_isolation import things as things  # noqa: PLC0414  a fixture
from tests.support.services import replace_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from fastapi import FastAPI

    from delivery.config import Settings
    from delivery.ledger.db.session import Transaction
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Intake commits events of several tenants in one transaction.
SHARED = {
    ("POST", "/v1/events"),
    ("POST", "/v1/events/batch"),
    ("POST", "/v1/endpoints/{endpoint_id}/test"),
}
SELECTION: dict[str, object] = {"selection": {"status": ["failed"]}, "reason": "so"}
BODIES: dict[str, dict[str, object]] = {
    "/v1/endpoints": {"url": "https://shop.example/in"},
    "/v1/endpoints/{endpoint_id}/recover": {"since": "2026-01-01T00:00:00Z"},
    "/v1/endpoints/{endpoint_id}/filter/test": {"event": {"type": "order.created", "data": 1}},
    "/v1/replays": SELECTION,
    "/v1/portal-links": {},
}
OPERATORS = ("/v1/tenants", "/v1/ingest", "/metrics")
# The catalogue is the same for all tenants, and written by the operator.
NOBODYS = ("/v1/event-types", "/v1/event-catalogue")
QUERIES = {f"/v1/exports/{name}": {"type": "order.created"} for name in ("deliveries", "attempts")}


class Watched(Ledger):
    """A ledger that records the tenant of each transaction."""

    def __init__(self, url: str) -> None:
        super().__init__(url, pool_size=2)
        self.bound_to: list[UUID | None] = []

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        self.bound_to.append(tenant_id)
        async with super().transaction(tenant_id=tenant_id) as tx:
            yield tx


@pytest_asyncio.fixture(loop_scope="session")
async def watched(api_database_url: str) -> AsyncIterator[Watched]:
    """A ledger that has already looked up its role, as after the first request."""
    watched = Watched(api_database_url)
    await watched.check_row_level_security()
    yield watched
    await watched.close()


@pytest.fixture
def seen_through(settings: Settings, services: Services, watched: Watched) -> FastAPI:
    """The application on the watched ledger; keys are looked up on another: no tenant is known then."""
    return create_app(replace_services(Services(settings, watched), api_keys=services.api_keys))


async def test_every_tenant_route_sets_the_tenant(
    seen_through: FastAPI, watched: Watched, tenant: TenantClient, things: dict[str, str]
):
    me = parse_id(Prefix.TENANT, tenant.id)
    tried = 0
    async with make_client(seen_through, tenant.key) as client:
        for method, path in sorted(routes(seen_through), key=_deleting_last):
            if path.startswith((*OPERATORS, *NOBODYS)) or path in OPEN or (method, path) in SHARED:
                continue
            watched.bound_to.clear()
            body = BODIES.get(path, {} if method in {"POST", "PATCH"} else None)
            answer = await client.request(method, path.format(**things), params=QUERIES.get(path), json=body)
            assert answer.status_code < 300 or answer.status_code == 409, (method, path, answer.text)
            assert set(watched.bound_to) == {me}, (method, path)
            tried += 1
    assert tried >= 30


def _deleting_last(route: tuple[str, str]) -> bool:
    return route[0] == "DELETE"
