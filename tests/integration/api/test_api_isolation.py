"""A tenant can neither read nor touch another tenant's things, nor learn that they exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from delivery.model import Prefix, parse_id
from tests.integration.api.conftest import OPERATOR_KEY, client_of
from tests.integration.api.test_api_deliveries import attempt

if TYPE_CHECKING:
    import psycopg
    from fastapi import FastAPI

    from tests.integration.api.conftest import Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "01kasw8qbefy09m6sc7n75yr3h"
OPEN = {"/healthz", "/readyz"}
# Doors that need one.
BODIES: dict[str, dict[str, str]] = {
    "/v1/endpoints/{endpoint_id}/recover": {"since": "2026-01-01T00:00:00Z"},
}


@pytest_asyncio.fixture(loop_scope="session")
async def things(tenant: Tenancy, sql: psycopg.Connection) -> dict[str, str]:
    """One of everything that belongs to `tenant`."""
    endpoint = await tenant.endpoint()
    event = await tenant.event()
    (delivery,) = await tenant.deliveries()
    asked = {"selection": {"status": ["failed"]}, "reason": "so"}
    replay = await tenant.client.post("/v1/replays", json=asked)
    return {
        "tenant_id": tenant.id,
        "endpoint_id": endpoint["id"],
        "event_id": event["id"],
        "delivery_id": delivery["id"],
        "attempt_id": attempt(sql, delivery["id"]),
        "replay_id": replay.json()["id"],
    }


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every operation, from the document."""
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


async def test_other_tenants_things_look_like_nothing_on_every_route(
    app: FastAPI, neighbour: Tenancy, things: dict[str, str]
):
    tried = 0
    for method, path in routes(app):
        if "{" not in path or path.startswith("/v1/tenants"):
            continue
        body = BODIES.get(path, {} if method == "PATCH" else None)
        theirs = await neighbour.client.request(method, path.format(**things), json=body)
        nobodys = {name: f"{id_.partition('_')[0]}_{UNKNOWN}" for name, id_ in things.items()}
        unknown = await neighbour.client.request(method, path.format(**nobodys), json=body)
        assert theirs.status_code == unknown.status_code == 404, (method, path)
        shown = theirs.text
        for name, id_ in things.items():
            shown = shown.replace(id_, nobodys[name])
        assert shown.replace(theirs.json()["request_id"], "") == unknown.text.replace(
            unknown.json()["request_id"], ""
        )
        tried += 1
    assert tried >= 13


async def test_nothing_of_a_tenant_changed_by_another_ones_tries(
    app: FastAPI, tenant: Tenancy, neighbour: Tenancy, things: dict[str, str]
):
    async def seen() -> list[object]:
        paths = (
            "/v1/endpoints",
            "/v1/events",
            "/v1/deliveries",
            f"/v1/endpoints/{things['endpoint_id']}/secrets",
            "/v1/replays",
        )
        return [(await tenant.client.get(path)).json() for path in paths]

    before = await seen()
    for method, path in routes(app):
        if "{" in path and method != "GET" and not path.startswith("/v1/tenants"):
            body = BODIES.get(path, {"description": "mine"} if method == "PATCH" else None)
            await neighbour.client.request(method, path.format(**things), json=body)
    assert await seen() == before


async def test_lists_hold_only_the_tenants_own(tenant: Tenancy, neighbour: Tenancy, things: dict[str, str]):
    await neighbour.endpoint()
    await neighbour.event()
    for path in ("/v1/endpoints", "/v1/events", "/v1/deliveries"):
        listed = await neighbour.client.get(path)
        assert len(listed.json()["items"]) == 1
        assert not [id_ for id_ in things.values() if id_ in listed.text]
    for name, value in (("endpoint", things["endpoint_id"]), ("event", things["event_id"])):
        assert await neighbour.deliveries(**{name: value}) == []
        assert len(await tenant.deliveries(**{name: value})) == 1


async def test_an_event_reaches_its_own_tenants_endpoints_alone(tenant: Tenancy, neighbour: Tenancy):
    await tenant.endpoint()
    assert (await neighbour.event())["deliveries"] == 0


async def test_the_operator_sees_a_tenants_things_only_through_that_tenant(
    app: FastAPI, tenant: Tenancy, neighbour: Tenancy, things: dict[str, str]
):
    path = f"/v1/deliveries/{things['delivery_id']}"
    async with client_of(app, OPERATOR_KEY, **{"Waybill-Tenant": tenant.id}) as right:
        assert (await right.get(path)).status_code == 200
    async with client_of(app, OPERATOR_KEY, **{"Waybill-Tenant": neighbour.id}) as wrong:
        assert (await wrong.get(path)).status_code == 404


async def test_every_route_but_health_needs_a_key(app: FastAPI, things: dict[str, str]):
    things |= {"key_id": f"key_{UNKNOWN}"}
    async with client_of(app, None) as nobody:
        for method, path in routes(app):
            answer = await nobody.request(method, path.format(**things))
            assert (answer.status_code == 401) is (path not in OPEN), (method, path, answer.text)


async def test_every_route_is_in_the_document(app: FastAPI):
    plain = [route for route in app.routes if isinstance(route, APIRoute)]
    assert all(route.include_in_schema for route in plain)
    assert len(routes(app)) >= 25


async def test_a_sealed_secret_moved_to_another_tenant_does_not_open(
    tenant: Tenancy, neighbour: Tenancy, sql: psycopg.Connection
):
    mine = await tenant.endpoint(headers={"X-Token": "mine"})
    theirs = await neighbour.endpoint()
    sql.execute(
        "update endpoints set header_names = source.header_names, sealed_headers = source.sealed_headers"
        " from endpoints source where source.id = %s and endpoints.id = %s",
        [parse_id(Prefix.ENDPOINT, mine["id"]), parse_id(Prefix.ENDPOINT, theirs["id"])],
    )
    path = f"/v1/endpoints/{theirs['id']}"
    assert (await neighbour.client.patch(path, json={"headers": {"X-B": "1"}})).status_code == 500
