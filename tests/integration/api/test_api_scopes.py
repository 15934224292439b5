"""Every route enforces exactly the scopes that the OpenAPI document states."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.ids import Prefix
from delivery.domain.scopes import ALL_SCOPES, TENANT_SCOPES
from tests.integration.api.conftest import OPERATOR_KEY, make_client

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "01kasw8qbefy09m6sc7n75yr3h"
IDS = {f"{prefix.name.lower()}_id": f"{prefix}_{UNKNOWN}" for prefix in Prefix} | {
    "event_type": "no.such_type"
}
OPEN = {"/healthz", "/readyz"}
# One scope alone shows where it suffices; all but one shows where it is needed.
SETS = [*combinations(TENANT_SCOPES, 1), *combinations(TENANT_SCOPES, len(TENANT_SCOPES) - 1)]


def needs(app: FastAPI) -> dict[tuple[str, str], set[str]]:
    """The scopes that each operation needs, from the document."""
    found = {}
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            (security,) = operation.get("security") or [{"ApiKey": []}]
            found[method.upper(), path] = set(security["ApiKey"])
    return found


async def key_for(operator: httpx.AsyncClient, tenant: TenantClient, **wanted: Any) -> dict[str, Any]:
    created = await operator.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "x", **wanted})
    assert created.status_code == 201, created.text
    return dict(created.json())


async def test_every_route_but_health_documents_its_scopes(app: FastAPI):
    needed = needs(app)
    assert {path for (_, path), scopes in needed.items() if not scopes} == OPEN
    assert set().union(*needed.values()) == ALL_SCOPES
    assert needed["POST", "/v1/events"] == needed["POST", "/v1/events/batch"] == {"publish"}
    for (method, path), scopes in needed.items():
        if path.startswith(("/v1/tenants", "/v1/ingest", "/metrics")):
            assert scopes == {"operate"}
        elif method == "GET" and path not in OPEN:
            assert scopes == {"read"}
        elif path.startswith("/v1/event-types"):
            assert scopes == {"operate"}
        else:
            assert path in OPEN or "operate" not in scopes


async def test_every_route_enforces_exactly_the_documented_scopes(
    app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient
):
    tried = 0
    for scopes in SETS:
        created = await key_for(operator, tenant, scopes=list(scopes))
        async with make_client(app, created["key"]) as client:
            for (method, path), needed in needs(app).items():
                body: Any = {} if method in {"POST", "PUT", "PATCH"} else None
                answer = await client.request(method, path.format(**IDS), json=body)
                missing = needed - set(scopes)
                assert (answer.status_code == 403) == bool(missing), (method, path, scopes, answer.text)
                assert answer.status_code not in {401, 500}
                for scope in missing:
                    assert f"`{scope}`" in answer.json()["detail"]
                tried += 1
    assert tried >= 300


async def test_a_missing_scope_is_named_in_the_header_too(
    app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient
):
    created = await key_for(operator, tenant, scopes=["read"])
    async with make_client(app, created["key"]) as client:
        refused = await client.post("/v1/events", json={"type": "a", "data": 1})
    assert refused.status_code == 403
    assert refused.json()["type"] == "/problems/not-allowed"
    assert refused.headers["www-authenticate"] == (
        'Bearer realm="waybill", error="insufficient_scope", scope="publish"'
    )


async def test_a_key_has_all_scopes_by_default(operator: httpx.AsyncClient, tenant: TenantClient):
    created = await key_for(operator, tenant)
    assert created["scopes"] == ["publish", "manage", "read", "replay"]
    assert created["expires_at"] is created["last_used_at"] is created["replaced_by"] is None


async def test_keys_from_before_scopes_have_all_scopes(sql: Any):
    (default,) = sql.execute(
        "select column_default from information_schema.columns"
        " where table_name = 'api_keys' and column_name = 'scopes'"
    ).fetchone()
    assert default.startswith("'{publish,manage,read,replay}'")


@pytest.mark.usefixtures("tenant")
async def test_the_database_refuses_keys_with_the_operator_scope(sql: Any):
    with pytest.raises(Exception, match="api_keys_scopes_check"):
        sql.execute("update api_keys set scopes = '{operate}'")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["operate"]}, "scopes"),
        ({"scopes": ["READ"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["read"] * 9}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_in_seconds": 1}, "expires_in_seconds"),
        ({"expires_in_seconds": 10**12}, "expires_in_seconds"),
        ({"expires_in_seconds": 3600, "expires_at": "2027-01-01T00:00:00Z"}, "expires_in_seconds"),
        ({"requests_per_second": 0}, "requests_per_second"),
        ({"requests_per_second": 1.5}, "requests_per_second"),
        ({"requests_per_second": True}, "requests_per_second"),
        ({"expires": "never"}, "expires"),
    ],
)
async def test_an_invalid_key_is_refused_with_its_field(
    operator: httpx.AsyncClient, tenant: TenantClient, wanted: dict[str, Any], field: str
):
    refused = await operator.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "x"} | wanted)
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["field"] == field


async def test_an_expired_key_gets_the_same_answer_as_an_unknown_one(
    app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient, sql: Any
):
    created = await key_for(operator, tenant, expires_in_seconds=60)
    sql.execute("update api_keys set expires_at = now() where hint = %s", [created["hint"]])
    answers = []
    for key in (created["key"], "wbk_" + "A" * 43):
        async with make_client(app, key) as client:
            answers.append(await client.get("/v1/endpoints"))
    expired, unknown = answers
    assert expired.status_code == unknown.status_code == 401
    assert expired.json()["detail"] == unknown.json()["detail"]
    assert expired.headers["www-authenticate"] == unknown.headers["www-authenticate"]


async def test_a_rotation_is_audited(app: FastAPI, operator: httpx.AsyncClient, tenant: TenantClient):
    created = await key_for(operator, tenant, scopes=["read"])
    path = f"/v1/tenants/{tenant.id}/keys/{created['id']}/rotate"
    rotated = await operator.post(path, json={"overlap_hours": 1, "reason": "as every year"})
    assert rotated.status_code == 201
    successor = rotated.json()
    assert (successor["name"], successor["scopes"]) == ("x", ["read"])
    for key in (created["key"], successor["key"]):
        async with make_client(app, key) as client:
            assert (await client.get("/v1/endpoints")).status_code == 200
    body = (await operator.get("/v1/audit", headers={"Waybill-Tenant": tenant.id})).json()["items"][0]
    assert (body["what"], body["reason"]) == ("key.rotated", "as every year")
    assert body["details"]["replaced_by"] == successor["id"]
    assert " until 20" in body["sentence"]
    assert created["key"] not in str(body)
    repeated = await operator.post(path)
    assert repeated.status_code == 409
    assert successor["id"] in repeated.json()["detail"]
    for wrong in (-1, 721, "many"):
        refused = await operator.post(path, json={"overlap_hours": wrong})
        assert refused.json()["errors"][0]["field"] == "overlap_hours"


async def test_the_key_list_has_scopes_expiry_and_last_use(
    app: FastAPI, services: Any, operator: httpx.AsyncClient, tenant: TenantClient
):
    created = await key_for(operator, tenant, scopes=["publish"], expires_in_seconds=3600)
    async with make_client(app, created["key"]) as client:
        await client.post("/v1/events", json={"type": "a", "data": 1})
    await services.api_keys.wait_for_background_writes()
    newest, _ = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    assert newest["scopes"] == ["publish"]
    assert newest["expires_at"] == created["expires_at"]
    assert newest["last_used_at"] is not None


async def test_the_operators_key_has_every_scope(app: FastAPI, tenant: TenantClient):
    async with make_client(app, OPERATOR_KEY, **{"Waybill-Tenant": tenant.id}) as operator:
        for method, path in needs(app):
            body: Any = {} if method in {"POST", "PUT", "PATCH"} else None
            answer = await operator.request(method, path.format(**IDS), json=body)
            assert answer.status_code not in {401, 403, 500}, (method, path)
