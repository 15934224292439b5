"""Rate limits of keys, their headers, and the wait after wrong keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.services.api_keys.brute_force import FAILURE_RATE
from tests.integration.api.conftest import OPERATOR_KEY, make_client

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from delivery.config import Settings
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVENT = {"type": "a", "data": 1}


@pytest_asyncio.fixture(loop_scope="session")
async def limited(settings: Settings, services: Services) -> FastAPI:
    """The application with a limit of one request per second for each key."""
    own = replace(settings, key_requests_per_second=1)
    return create_app(Services(own, services.ledger))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/events"), ("GET", "/v1/endpoints")])
async def test_too_many_requests_get_429_on_both_paths(
    limited: FastAPI, tenant: TenantClient, method: str, path: str
):
    body = EVENT if method == "POST" else None
    async with make_client(limited, tenant.key) as client:
        first = await client.request(method, path, json=body)
        second = await client.request(method, path, json=body)
    assert first.is_success
    assert first.headers["ratelimit-limit"] == "1"
    assert first.headers["ratelimit-remaining"] == "0"
    assert first.headers["ratelimit-policy"] == '"key";q=1;w=1'
    assert second.status_code == 429
    assert second.headers["retry-after"] == second.headers["ratelimit-reset"] == "1"
    assert second.json()["type"] == "/problems/too-many-requests"


async def test_a_key_with_its_own_limit_gets_its_headers(
    app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient
):
    created = await operator.post(
        f"/v1/tenants/{tenant.id}/keys", json={"name": "x", "requests_per_second": 50}
    )
    async with make_client(app, created.json()["key"]) as client:
        answer = await client.post("/v1/events", json=EVENT)
    assert answer.headers["ratelimit"].startswith('"key";r=49;')


async def test_a_key_without_a_limit_gets_no_headers(tenant: TenantClient):
    answer = await tenant.client.get("/v1/endpoints")
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_the_operator_has_no_limit(limited: FastAPI):
    async with make_client(limited, OPERATOR_KEY) as operator:
        for _ in range(3):
            assert (await operator.get("/v1/tenants")).status_code == 200


async def test_too_many_wrong_keys_block_an_address(limited: FastAPI):
    async with make_client(limited, None) as client:
        answers = []
        for number in range(int(FAILURE_RATE.burst) + 40):
            key = f"Bearer wbk_{number:043d}"
            answers.append(await client.post("/v1/events", json=EVENT, headers={"Authorization": key}))
    statuses = [answer.status_code for answer in answers]
    assert statuses[: int(FAILURE_RATE.burst)] == [401] * int(FAILURE_RATE.burst)
    assert 429 in statuses
    waiting: Any = next(answer for answer in answers if answer.status_code == 429)
    assert int(waiting.headers["retry-after"]) >= 1
    assert waiting.json()["type"] == "/problems/too-many-tries"
