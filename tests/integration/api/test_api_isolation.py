"""A tenant can neither read nor change another tenant's objects, nor learn that they exist."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.domain.ids import Prefix, format_id, new_id, parse_id
from delivery.ledger.db.session import Ledger
from delivery.ledger.db.tables import metadata
from tests.integration.api.conftest import OPERATOR_KEY, make_client
from tests.integration.api.test_api_deliveries import attempt
from tests.support.cross_tenant_probes import (
    COVERED_FIELDS,
    ID_PARAMETERS,
    find_fields_with_ids,
    iter_probes,
    normalize_answer,
)
from tests.support.wire_counting import count_database_traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import psycopg
    from fastapi import FastAPI

    from delivery.config import Settings
    from tests.integration.api.conftest import TenantClient
    from tests.support.cross_tenant_probes import Probe
    from tests.support.wire_counting import CountedDatabase, Transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPEN = {"/healthz", "/readyz"}


@pytest_asyncio.fixture(loop_scope="session")
async def things(
    operator: httpx.AsyncClient, tenant: TenantClient, sql: psycopg.Connection
) -> dict[str, str]:
    """One object of every kind, owned by `tenant`."""
    endpoint = await tenant.create_endpoint(headers={"X-Token": "theirs"})
    event = await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    requested = {"selection": {"status": ["failed"]}, "reason": "so"}
    replay = await tenant.client.post("/v1/replays", json=requested)
    keys = await operator.get(f"/v1/tenants/{tenant.id}/keys")
    return {
        "tenant_id": tenant.id,
        "key_id": keys.json()["items"][0]["id"],
        "endpoint_id": endpoint["id"],
        "event_id": event["id"],
        "delivery_id": delivery["id"],
        "attempt_id": attempt(sql, delivery["id"]),
        "replay_id": replay.json()["id"],
        "message_id": refused_message(sql, tenant.id),
    }


@pytest.fixture
def nobodys(things: dict[str, str]) -> dict[str, str]:
    """Unused ids of the same kinds and time."""
    return {name: format_id(Prefix(id_.partition("_")[0]), new_id()) for name, id_ in things.items()}


@asynccontextmanager
async def counted_app(url: str, settings: Settings) -> AsyncIterator[tuple[FastAPI, CountedDatabase]]:
    """The application, and its database statements."""
    with count_database_traffic(url) as counted:
        wired = Services(settings, Ledger(counted.url, pool_size=2))
        try:
            yield create_app(wired), counted
        finally:
            await wired.close()


def refused_message(sql: psycopg.Connection, tenant_id: str) -> str:
    """A message of this tenant that could not be accepted."""
    id_ = new_id()
    sql.execute(
        "insert into refused_messages (id, tenant_id, body, size, reason, fingerprint, first_at, last_at)"
        " values (%s, %s, 'x', 1, 'so', %s, now(), now())",
        [id_, parse_id(Prefix.TENANT, tenant_id), id_.bytes],
    )
    return format_id(Prefix.MESSAGE, id_)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every operation, from the document."""
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def expected(item: Probe) -> int | None:
    """How a try must be answered: there is no such thing; whatever else, it must be the same for both."""
    if "_id}" not in item.path or not item.is_well_formed:
        return None
    if not item.is_documented:
        return 405
    return 403 if item.path.startswith(("/v1/tenants", "/v1/ingest")) else 404


async def test_other_tenants_ids_look_nonexistent_on_every_route(
    app: FastAPI, other_tenant: TenantClient, things: dict[str, str], nobodys: dict[str, str]
):
    tried = 0
    for item in iter_probes(app.openapi()):
        theirs = await item.fill_ids(things).send(other_tenant.client)
        nothing = await item.fill_ids(nobodys).send(other_tenant.client)
        assert normalize_answer(theirs) == normalize_answer(nothing), item
        assert expected(item) in {None, theirs.status_code}, (item, theirs.text)
        assert theirs.status_code < 500, item
        tried += 1
    assert tried > 250


async def test_other_tenants_ids_run_the_same_queries_as_unknown_ids(
    api_database_url: str,
    settings: Settings,
    other_tenant: TenantClient,
    things: dict[str, str],
    nobodys: dict[str, str],
):
    async with (
        counted_app(api_database_url, settings) as (app, counted),
        make_client(app, other_tenant.key) as client,
    ):

        async def list_statements_of(one: Probe) -> list[str]:
            before = len(counted.transactions)
            await one.send(client)
            return statements(counted.transactions[before:])

        for one in iter_probes(app.openapi()):
            await one.fill_ids(nobodys).send(client)  # every connection that it takes is open now
        for one in iter_probes(app.openapi()):
            assert await list_statements_of(one.fill_ids(things)) == await list_statements_of(
                one.fill_ids(nobodys)
            ), one
        assert len(counted.transactions) > 150


def statements(ended: list[Transaction]) -> list[str]:
    """The statements about resources. Lookups of keys and forgotten statements depend on time."""
    requested = [statement for transaction in ended for statement in transaction.statements]
    return [item for item in requested if "FROM api_keys" not in item and not item.startswith("DEALLOCATE")]


async def test_cross_tenant_requests_change_nothing(
    app: FastAPI,
    tenant: TenantClient,
    other_tenant: TenantClient,
    things: dict[str, str],
    sql: psycopg.Connection,
):
    before = rows_of(sql, things, besides=other_tenant.id)
    assert {row.partition(":")[0] for row in before} >= {"tenants", "endpoints", "events", "deliveries"}
    for item in iter_probes(app.openapi()):
        await item.fill_ids(things).send(other_tenant.client)
    assert rows_of(sql, things, besides=other_tenant.id) == before
    assert (await tenant.client.get("/v1/endpoints")).status_code == 200


def rows_of(sql: psycopg.Connection, things: dict[str, str], *, besides: str) -> list[str]:
    """All rows with one of these ids that do not belong to the other tenant, as text."""
    ids = [str(parse_id(Prefix(id_.partition("_")[0]), id_)) for id_ in things.values()]
    other = str(parse_id(Prefix.TENANT, besides))
    found: list[str] = []
    for table in metadata.sorted_tables:
        whole = sql.execute(f'select one::text from "{table.name}" one').fetchall()  # noqa: S608  our tables
        found += [
            f"{table.name}: {row}" for (row,) in whole if other not in row and any(i in row for i in ids)
        ]
    return sorted(found)


async def test_every_id_parameter_is_covered(app: FastAPI):
    document = app.openapi()
    named = {name for path in document["paths"] for name in path.split("/") if name.startswith("{")}
    # The name of a type is not an id: the catalogue is the same for all tenants.
    assert named - {"{event_type}"} == {f"{{{name}}}" for name in ID_PARAMETERS.values()}
    assert find_fields_with_ids(document) == COVERED_FIELDS


async def test_another_tenants_idempotency_key_can_be_used(tenant: TenantClient, other_tenant: TenantClient):
    await tenant.send_event("order.created", **{"Idempotency-Key": "the-same"})
    theirs = await other_tenant.client.post(
        "/v1/events", json={"type": "order.paid", "data": 1}, headers={"Idempotency-Key": "the-same"}
    )
    assert (theirs.status_code, theirs.json()["type"]) == (202, "order.paid")


async def test_another_tenants_cursor_is_refused(tenant: TenantClient, other_tenant: TenantClient):
    await tenant.send_event()
    await tenant.send_event()
    cursor = (await tenant.client.get("/v1/events?limit=1")).json()["next"]
    theirs = await other_tenant.client.get("/v1/events", params={"limit": 1, "cursor": cursor})
    nothing = await other_tenant.client.get("/v1/events", params={"limit": 1, "cursor": "A" * 40})
    assert normalize_answer(theirs) == normalize_answer(nothing)
    assert theirs.status_code == 422


async def test_lists_have_only_the_tenants_own_rows(
    tenant: TenantClient, other_tenant: TenantClient, things: dict[str, str]
):
    await other_tenant.create_endpoint()
    await other_tenant.send_event()
    for path in ("/v1/endpoints", "/v1/events", "/v1/deliveries"):
        listed = await other_tenant.client.get(path)
        assert len(listed.json()["items"]) == 1
        assert not [id_ for id_ in things.values() if id_ in listed.text]
    for name, value in (("endpoint", things["endpoint_id"]), ("event", things["event_id"])):
        assert await other_tenant.list_deliveries(**{name: value}) == []
        assert len(await tenant.list_deliveries(**{name: value})) == 1


async def test_an_event_reaches_only_endpoints_of_its_tenant(
    tenant: TenantClient, other_tenant: TenantClient
):
    await tenant.create_endpoint()
    assert (await other_tenant.send_event())["deliveries"] == 0


async def test_the_operator_must_name_the_tenant_of_an_object(
    app: FastAPI, tenant: TenantClient, other_tenant: TenantClient, things: dict[str, str]
):
    path = f"/v1/deliveries/{things['delivery_id']}"
    async with make_client(app, OPERATOR_KEY, **{"Waybill-Tenant": tenant.id}) as right:
        assert (await right.get(path)).status_code == 200
    async with make_client(app, OPERATOR_KEY, **{"Waybill-Tenant": other_tenant.id}) as wrong:
        assert (await wrong.get(path)).status_code == 404


async def test_every_route_but_health_needs_a_key(app: FastAPI, things: dict[str, str]):
    async with make_client(app, None) as nobody:
        for method, path in routes(app):
            answer = await nobody.request(method, path.format(**things, event_type="order.created"))
            assert (answer.status_code == 401) is (path not in OPEN), (method, path, answer.text)


async def test_every_route_is_in_the_document(app: FastAPI):
    plain = [route for route in app.routes if isinstance(route, APIRoute)]
    assert all(route.include_in_schema for route in plain)
    assert len(routes(app)) >= 25


async def test_a_sealed_secret_cannot_be_opened_for_another_tenant(
    tenant: TenantClient, other_tenant: TenantClient, sql: psycopg.Connection
):
    mine = await tenant.create_endpoint(headers={"X-Token": "mine"})
    theirs = await other_tenant.create_endpoint()
    sql.execute(
        "update endpoints set header_names = source.header_names, sealed_headers = source.sealed_headers"
        " from endpoints source where source.id = %s and endpoints.id = %s",
        [parse_id(Prefix.ENDPOINT, mine["id"]), parse_id(Prefix.ENDPOINT, theirs["id"])],
    )
    path = f"/v1/endpoints/{theirs['id']}"
    assert (await other_tenant.client.patch(path, json={"headers": {"X-B": "1"}})).status_code == 500
