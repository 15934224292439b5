"""Tenants, API keys and their permissions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from delivery.domain.accounts import Actor
from delivery.domain.errors import NotAuthenticated
from delivery.domain.ids import KeyId, Prefix, TenantId, parse_id
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig

if TYPE_CHECKING:
    import httpx
    import psycopg

    from delivery.bootstrap import Services
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_is_returned_once(operator: httpx.AsyncClient, tenant: TenantClient):
    created = await operator.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "second"})
    assert created.status_code == 201
    key = created.json()["key"]
    assert key.startswith("wbk_")
    assert len(key) > 40
    listed = await operator.get(f"/v1/tenants/{tenant.id}/keys")
    assert [item["name"] for item in listed.json()["items"]] == ["second", "tests"]
    assert key not in listed.text
    assert key.startswith(listed.json()["items"][0]["hint"].rstrip("…"))


async def test_only_a_hash_of_a_key_is_stored(tenant: TenantClient, sql: psycopg.Connection):
    rows = sql.execute("select k::text from api_keys k").fetchall()
    assert rows
    assert not [row for row in rows if tenant.key in row[0] or tenant.key.encode().hex() in row[0]]


async def test_a_revoked_key_is_refused_at_once_in_the_same_process(
    operator: httpx.AsyncClient, tenant: TenantClient
):
    assert (await tenant.client.get("/v1/endpoints")).status_code == 200
    (key,) = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    gone = await operator.delete(f"/v1/tenants/{tenant.id}/keys/{key['id']}")
    assert gone.status_code == 204
    assert (await tenant.client.get("/v1/endpoints")).status_code == 401
    repeated = await operator.delete(f"/v1/tenants/{tenant.id}/keys/{key['id']}")
    assert repeated.status_code == 204
    (listed,) = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    assert listed["revoked_at"] is not None


async def test_a_revoked_key_is_refused_in_other_processes_within_five_seconds(
    services: Services, tenant: TenantClient
):
    now = datetime.now(UTC)
    elsewhere = ApiKeyService(
        services.ledger, ApiKeyConfig(), clock=lambda: now, random_bytes=lambda n: b"x" * n
    )
    key = await elsewhere.authenticate(tenant.key)
    assert key is not None
    await services.api_keys.revoke(key.tenant_id, key.id, actor=Actor("operator"))
    assert await elsewhere.authenticate(tenant.key) == key
    now += timedelta(seconds=5)
    with pytest.raises(NotAuthenticated):
        await elsewhere.authenticate(tenant.key)


async def test_another_tenants_key_cannot_be_revoked_through_the_wrong_tenant(
    operator: httpx.AsyncClient, tenant: TenantClient, other_tenant: TenantClient
):
    (key,) = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    refused = await operator.delete(f"/v1/tenants/{other_tenant.id}/keys/{key['id']}")
    assert refused.status_code == 404
    assert (await tenant.client.get("/v1/endpoints")).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wbk_",
        "Bearer wbk_" + "A" * 43,
        "Bearer operator-key-for-tests-onlz",
        "Basic b3BlcmF0b3I6",
        "bearer \xff\xfe",
    ],
)
async def test_all_unknown_keys_get_the_same_response(
    anonymous: httpx.AsyncClient, authorization: str | None
):
    headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
    for method, path in (("GET", "/v1/endpoints"), ("POST", "/v1/events"), ("GET", "/v1/tenants")):
        refused = await anonymous.request(method, path, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["detail"] == "Send a known key: Authorization: Bearer …"
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_a_tenants_key_may_not_manage_tenants(tenant: TenantClient):
    paths = [("POST", "/v1/tenants"), ("GET", "/v1/tenants"), ("GET", f"/v1/tenants/{tenant.id}")]
    paths += [("POST", f"/v1/tenants/{tenant.id}/keys"), ("GET", f"/v1/tenants/{tenant.id}/keys")]
    for method, path in paths:
        body = {"name": "x"} if method == "POST" else None
        refused = await tenant.client.request(method, path, json=body)
        assert refused.status_code == 403, path
        assert refused.json()["type"] == "/problems/not-allowed"


async def test_the_operator_acts_for_the_named_tenant(operator: httpx.AsyncClient, tenant: TenantClient):
    named = {"Waybill-Tenant": tenant.id}
    created = await operator.post("/v1/endpoints", json={"url": "https://a.example/"}, headers=named)
    assert created.status_code == 201
    sent = await operator.post("/v1/events", json={"type": "a", "data": 1}, headers=named)
    assert sent.json()["deliveries"] == 1
    listed = (await tenant.client.get("/v1/endpoints")).json()["items"]
    assert [item["id"] for item in listed] == [created.json()["id"]]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/endpoints"), ("POST", "/v1/events")])
async def test_the_operator_must_name_an_existing_tenant(operator: httpx.AsyncClient, method: str, path: str):
    body = {"type": "a", "data": 1} if method == "POST" else None
    unnamed = await operator.request(method, path, json=body)
    assert unnamed.status_code == 422
    assert unnamed.json()["errors"][0]["field"] == "Waybill-Tenant"
    malformed = await operator.request(method, path, json=body, headers={"Waybill-Tenant": "acme"})
    assert malformed.json()["errors"][0]["field"] == "Waybill-Tenant"
    unknown = {"Waybill-Tenant": "ten_01kasw8qbefy09m6sc7n75yr3h"}
    assert (await operator.request(method, path, json=body, headers=unknown)).status_code == 404


async def test_a_tenants_key_cannot_act_for_another_tenant(tenant: TenantClient, other_tenant: TenantClient):
    known = await tenant.client.get("/v1/endpoints", headers={"Waybill-Tenant": other_tenant.id})
    unknown_id = "ten_01kasw8qbefy09m6sc7n75yr3h"
    unknown = await tenant.client.get("/v1/endpoints", headers={"Waybill-Tenant": unknown_id})
    assert known.status_code == unknown.status_code == 404
    assert known.json()["detail"].replace(other_tenant.id, unknown_id) == unknown.json()["detail"]
    assert (await tenant.client.get("/v1/endpoints", headers={"Waybill-Tenant": tenant.id})).is_success


@pytest.mark.parametrize(
    "name",
    ["", "x" * 201, "a\0b", "\ud800", 7, None, ["x"]],
    ids=["empty", "long", "nul", "half", "int", "null", "list"],
)
async def test_an_invalid_name_is_refused(operator: httpx.AsyncClient, name: object):
    refused = await operator.post(
        "/v1/tenants", content=json.dumps({"name": name}), headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "name"


async def test_unknown_tenants_are_not_found(operator: httpx.AsyncClient):
    unknown = "/v1/tenants/ten_01kasw8qbefy09m6sc7n75yr3h"
    assert (await operator.get(unknown)).status_code == 404
    assert (await operator.get(f"{unknown}/keys")).status_code == 404
    assert (await operator.post(f"{unknown}/keys", json={"name": "x"})).status_code == 404


async def test_location_points_to_the_created_tenant(operator: httpx.AsyncClient):
    created = await operator.post("/v1/tenants", json={"name": "Ärger & Söhne 🎈"})
    read = await operator.get(created.headers["location"])
    assert read.json() == created.json()
    assert read.json()["name"] == "Ärger & Söhne 🎈"


async def test_tenants_are_listed_newest_first_page_by_page(operator: httpx.AsyncClient):
    created = [(await operator.post("/v1/tenants", json={"name": f"T{n}"})).json()["id"] for n in range(3)]
    first = (await operator.get("/v1/tenants", params={"limit": 2})).json()
    assert [item["id"] for item in first["items"]] == [created[2], created[1]]
    second = (await operator.get("/v1/tenants", params={"limit": 1, "cursor": first["next"]})).json()
    assert [item["id"] for item in second["items"]] == [created[0]]


async def test_bad_keys_do_not_fill_memory(services: Services):
    fresh = ApiKeyService(
        services.ledger, ApiKeyConfig(), clock=lambda: datetime.now(UTC), random_bytes=lambda n: b"x" * n
    )
    for n in range(10):
        with pytest.raises(NotAuthenticated):
            await fresh.authenticate(f"wbk_{n:043d}")
    assert not fresh._cache._cache  # noqa: SLF001  what is kept is the fact


async def test_a_key_identifies_its_tenant(services: Services, tenant: TenantClient):
    key = await services.api_keys.authenticate(tenant.key)
    assert key is not None
    assert key.tenant_id == TenantId(parse_id(Prefix.TENANT, tenant.id))
    assert isinstance(key.id, UUID)
    assert key.id != KeyId(UUID(int=0))
