"""The audit log: every mutating route records actor, time, address and reason."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import uvicorn

from delivery.config import Settings, parse_settings
from delivery.domain.errors import Misconfigured
from delivery.domain.ids import Prefix, new_id, parse_id
from delivery.domain.networks import parse_networks
from tests.integration.api.conftest import OPERATOR_KEY, make_client
from tests.support.ledger_builders import wait_until
from workers.processes.web import build_server_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Mutating routes without an audit entry, each with the reason.
NOT_AUDITED = {
    ("post", "/v1/events"): "the event itself is the record",
    ("post", "/v1/events/batch"): "the events themselves are the record",
    ("post", "/v1/endpoints/{endpoint_id}/test"): "an event like any other",
    ("post", "/v1/endpoints/{endpoint_id}/filter/test"): "it only looks",
}
# The entries of the others.
AUDITED = {
    ("post", "/v1/tenants"): "tenant.created",
    ("patch", "/v1/tenants/{tenant_id}"): "tenant.changed",
    ("post", "/v1/tenants/{tenant_id}/keys"): "key.created",
    ("post", "/v1/tenants/{tenant_id}/keys/{key_id}/rotate"): "key.rotated",
    ("delete", "/v1/tenants/{tenant_id}/keys/{key_id}"): "key.revoked",
    ("post", "/v1/endpoints"): "endpoint.created",
    ("patch", "/v1/endpoints/{endpoint_id}"): "endpoint.changed",
    ("delete", "/v1/endpoints/{endpoint_id}"): "endpoint.deleted",
    ("post", "/v1/endpoints/{endpoint_id}/pause"): "endpoint.paused",
    ("post", "/v1/endpoints/{endpoint_id}/resume"): "endpoint.resumed",
    ("post", "/v1/endpoints/{endpoint_id}/disable"): "endpoint.disabled",
    ("post", "/v1/endpoints/{endpoint_id}/enable"): "endpoint.enabled",
    ("post", "/v1/endpoints/{endpoint_id}/secrets/rotate"): "endpoint.secret_rotated",
    ("post", "/v1/deliveries/{delivery_id}/replay"): "delivery.replayed",
    ("post", "/v1/replays"): "replay.created",
    ("post", "/v1/endpoints/{endpoint_id}/recover"): "replay.created",
    ("post", "/v1/replays/{replay_id}/pause"): "replay.paused",
    ("post", "/v1/replays/{replay_id}/resume"): "replay.resumed",
    ("post", "/v1/replays/{replay_id}/cancel"): "replay.cancelled",
    ("post", "/v1/ingest/messages/{message_id}/retry"): "message.retried",
    ("delete", "/v1/ingest/messages/{message_id}"): "message.discarded",
    ("put", "/v1/event-types/{event_type}"): "event_type.created",
    ("patch", "/v1/event-types/{event_type}"): "event_type.changed",
    ("delete", "/v1/event-types/{event_type}"): "event_type.archived",
    ("post", "/v1/portal-links"): "portal_link.created",
    ("delete", "/v1/events/{event_id}/content"): "event.content_erased",
    ("delete", "/v1/attempts/{attempt_id}/content"): "attempt.content_erased",
}


async def audit(client: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit", params=wanted)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_every_mutating_route_is_listed_as_audited_or_not(app: FastAPI) -> None:
    doors = {
        (method, path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method != "get"
    }
    assert doors == AUDITED.keys() | NOT_AUDITED.keys()


async def test_endpoint_changes_are_audited_with_actor_address_and_reason(tenant: TenantClient) -> None:
    path = f"/v1/endpoints/{(await tenant.create_endpoint())['id']}"
    why = {"reason": "so"}
    for call in (
        tenant.client.patch(path, json={"description": "new"}, params=why),
        tenant.client.post(f"{path}/pause", json=why),
        tenant.client.post(f"{path}/resume", json=why),
        tenant.client.post(f"{path}/disable", json=why),
        tenant.client.post(f"{path}/enable", json=why),
        tenant.client.post(f"{path}/secrets/rotate", json=why),
        tenant.client.delete(path, params=why),
    ):
        assert (await call).is_success
    output = await audit(tenant.client)
    assert [entry["what"].removeprefix("endpoint.") for entry in output[::-1]][2:] == [
        *("created", "changed", "paused", "resumed", "disabled", "enabled", "secret_rotated", "deleted"),
    ]
    assert {entry["reason"] for entry in output[:7]} == {"so"}
    assert {entry["address"] for entry in output} == {"127.0.0.1"}
    assert {entry["actor"][:4] for entry in output[:8]} == {"key_"}
    assert all(entry["sentence"].endswith(".") for entry in output)


async def test_tenant_and_key_changes_are_audited_without_the_key(
    operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    new = (await operator.post(f"/v1/tenants/{tenant.id}/keys", json={"name": "shop"})).json()
    await operator.delete(f"/v1/tenants/{tenant.id}/keys/{new['id']}", params={"reason": "leaked"})
    revoked, created, *_, first = await audit(tenant.client)
    assert (revoked["what"], revoked["reason"], revoked["actor"]) == ("key.revoked", "leaked", "operator")
    assert (created["what"], created["details"]["key_id"]) == ("key.created", new["id"])
    assert first["what"] == "tenant.created"
    assert new["key"] not in str(created)


async def test_a_tenant_sees_its_own_entries_and_the_operator_all(
    operator: httpx.AsyncClient, tenant: TenantClient, other_tenant: TenantClient
) -> None:
    await tenant.create_endpoint()
    await other_tenant.create_endpoint()
    assert {entry["tenant_id"] for entry in await audit(tenant.client)} == {tenant.id}
    everybody = {entry["tenant_id"] for entry in await audit(operator, limit=20)}
    assert {tenant.id, other_tenant.id} <= everybody
    requested = await operator.get("/v1/audit", headers={"Waybill-Tenant": other_tenant.id})
    assert {entry["tenant_id"] for entry in requested.json()["items"]} == {other_tenant.id}


async def test_a_tenant_cannot_name_another_tenant(tenant: TenantClient, other_tenant: TenantClient) -> None:
    answer = await tenant.client.get("/v1/audit", headers={"Waybill-Tenant": other_tenant.id})
    assert answer.status_code == 404


async def test_filters_select_by_actor_action_and_object(tenant: TenantClient) -> None:
    first, second = (await tenant.create_endpoint())["id"], (await tenant.create_endpoint())["id"]
    await tenant.client.post(f"/v1/endpoints/{first}/pause")
    assert [e["what"] for e in await audit(tenant.client, endpoint=first)] == [
        "endpoint.paused",
        "endpoint.created",
    ]
    assert {e["endpoint_id"] for e in await audit(tenant.client, what="endpoint.*")} == {first, second}
    assert {e["what"] for e in await audit(tenant.client, what="endpoint.paused")} == {"endpoint.paused"}
    assert {e["what"] for e in await audit(tenant.client, actor="operator")} == {
        "tenant.created",
        "key.created",
    }
    later = (await audit(tenant.client))[0]["at"]
    assert len(await audit(tenant.client, until=later)) < len(await audit(tenant.client))


async def test_engine_audit_entries_are_hidden_by_default(
    tenant: TenantClient, sql: psycopg.Connection
) -> None:
    endpoint = parse_id(Prefix.ENDPOINT, (await tenant.create_endpoint())["id"])
    sql.execute(
        """
        insert into journal (id, tenant_id, endpoint_id, at, what, actor, details)
        select %s, tenant_id, id, now(), 'endpoint.breaker_opened', 'waybill', '{}'
        from endpoints where id = %s
        """,
        (new_id(), endpoint),
    )
    newest, *others = await audit(tenant.client, engine="true")
    assert (newest["what"], newest["actor"]) == ("endpoint.breaker_opened", "waybill")
    assert others == await audit(tenant.client)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("what", "endpoint..x"),
        ("actor", ""),
        ("endpoint", "ep_1"),
        ("delivery", "ep_1"),
        ("since", "yesterday"),
        ("until", "2026-11-22T00:00:00"),
        ("cursor", "abc"),
        ("engine", "perhaps"),
        ("limit", "0"),
        ("nonsense", "1"),
    ],
)
async def test_an_invalid_filter_is_named(tenant: TenantClient, name: str, value: str) -> None:
    answer = await tenant.client.get("/v1/audit", params={name: value})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [name]


async def test_pages_have_every_entry_once_during_inserts(tenant: TenantClient) -> None:
    endpoint = (await tenant.create_endpoint())["id"]
    for number in range(4):
        await tenant.client.patch(f"/v1/endpoints/{endpoint}", json={"description": str(number)})
    before = [entry["id"] for entry in await audit(tenant.client)]
    seen, cursor = [], None
    while True:
        page = (
            await tenant.client.get("/v1/audit", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        await tenant.create_endpoint()
    assert seen == before


@pytest.mark.parametrize("statement", ["update journal set actor = 'nobody'", "delete from journal"])
async def test_entries_cannot_be_changed_or_deleted(
    tenant: TenantClient, sql: psycopg.Connection, statement: str
) -> None:
    await tenant.create_endpoint()
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        sql.execute(statement.encode())


async def test_the_operators_key_appears_by_name_only(app: FastAPI, tenant: TenantClient) -> None:
    async with make_client(app, OPERATOR_KEY, **{"Waybill-Tenant": tenant.id}) as operator:
        await operator.post("/v1/endpoints", json={"url": "https://shop.example/in"})
    newest, *_ = await audit(tenant.client)
    assert newest["actor"] == "operator"
    assert OPERATOR_KEY not in str(newest)


@asynccontextmanager
async def served(app: FastAPI, settings: Settings, *, trusted_proxies: str) -> AsyncIterator[str]:
    """The application behind a real socket, as `web` serves it."""
    own = replace(settings, port=0, trusted_proxies=parse_networks(trusted_proxies))
    server = uvicorn.Server(build_server_config(own, app))
    serving = asyncio.create_task(server._serve())  # noqa: SLF001  as `serve`, without taking the signals
    try:
        await wait_until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        pytest.param("", "127.0.0.1", id="nobody is trusted"),
        pytest.param("10.0.0.0/8", "127.0.0.1", id="a stranger is not believed"),
        pytest.param("127.0.0.0/8,::1", "203.0.113.7", id="a proxy is believed"),
    ],
)
async def test_a_trusted_proxy_gives_the_callers_address(
    app: FastAPI, settings: Settings, tenant: TenantClient, trusted: str, expected: str
) -> None:
    async with served(app, settings, trusted_proxies=trusted) as url, httpx.AsyncClient() as client:
        created = await client.post(
            f"{url}/v1/endpoints",
            json={"url": "https://shop.example/in"},
            headers={
                "Authorization": f"Bearer {tenant.key}",
                "X-Forwarded-For": "198.51.100.1, 203.0.113.7",
                "X-Forwarded-Proto": "https",
            },
        )
        assert created.status_code == 201
    newest, *_ = await audit(tenant.client)
    assert newest["address"] == expected


async def test_invalid_trusted_proxies_are_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match="WAYBILL_TRUSTED_PROXIES"):
        parse_settings({"trusted_proxies": "10.0.0.0/99"})
