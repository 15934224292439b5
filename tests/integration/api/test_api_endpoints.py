"""Endpoints: created, changed, paused, deleted, and which fields are readable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_an_endpoint_is_returned_as_created(tenant: TenantClient):
    created = await tenant.client.post(
        "/v1/endpoints",
        json={
            "url": "https://Shop.Example:443/in?a=b",
            "description": "für Ünïcode 🎈",
            "filter": ["order.*", "invoice.paid", "order.*"],
            "headers": {"X-Token": "geheim"},
            "schedule": [0, 2.5, 60],
            "timeout_seconds": 10,
        },
    )
    assert created.status_code == 201
    body = created.json()
    assert body.pop("secret").startswith("whsec_")
    assert body.pop("public_key") is None
    read = await tenant.client.get(created.headers["location"])
    assert read.json() == body
    assert body["url"] == "https://shop.example/in?a=b"
    assert body["filter"] == ["order.*", "invoice.paid"]
    assert body["headers"] == {"X-Token": "***"}
    assert body["schedule"] == [0, 2.5, 60]
    assert body["state"] == "active"


async def test_an_endpoint_needs_only_a_url(tenant: TenantClient):
    result = await tenant.create_endpoint()
    assert result["filter"] == ["*"]
    assert result["schedule"] is None
    assert result["timeout_seconds"] is None
    assert result["signature"] == "v1"


async def test_an_ed25519_endpoint_shows_only_its_public_key(tenant: TenantClient):
    result = await tenant.create_endpoint(signature="v1a")
    assert result["secret"] is None
    assert result["public_key"].startswith("whpk_")
    (live,) = (await tenant.client.get(f"/v1/endpoints/{result['id']}/secrets")).json()["items"]
    assert live["public_key"] == result["public_key"]


async def test_secrets_and_header_values_are_unreadable_in_the_ledger(
    tenant: TenantClient, sql: psycopg.Connection
):
    created = await tenant.create_endpoint(secret=OWN, headers={"Authorization": "Bearer 0penSesame"})
    assert created["secret"] == OWN
    await tenant.client.post(f"/v1/endpoints/{created['id']}/secrets/rotate")
    pair = await tenant.create_endpoint(signature="v1a")
    assert pair["public_key"]
    needles = [OWN, OWN.removeprefix("whsec_"), "0penSesame"]
    needles += [needle.encode().hex() for needle in needles] + [b"whsk_".hex(), b"whsec_".hex()]
    for table in ("endpoints", "endpoint_secrets"):
        for (row,) in sql.execute(f"select t::text from {table} t").fetchall():  # noqa: S608  our own table's name
            assert not [needle for needle in needles if needle in row]


async def test_secrets_and_header_values_are_returned_only_once(tenant: TenantClient):
    created = await tenant.create_endpoint(secret=OWN, headers={"X-Token": "0penSesame"})
    path = f"/v1/endpoints/{created['id']}"
    answers = [
        await tenant.client.get(path),
        await tenant.client.get("/v1/endpoints"),
        await tenant.client.get(f"{path}/secrets"),
        await tenant.client.patch(path, json={"description": "x"}),
        await tenant.client.post(f"{path}/pause"),
        await tenant.client.post(f"{path}/resume"),
        await tenant.client.post(f"{path}/disable"),
        await tenant.client.post(f"{path}/enable", json={"dry_run": True}),
        await tenant.client.post(f"{path}/enable"),
        await tenant.client.get(f"{path}/health"),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert OWN not in answer.text
        assert "0penSesame" not in answer.text


async def test_responses_with_secrets_are_not_cacheable(tenant: TenantClient):
    created = await tenant.client.post("/v1/endpoints", json={"url": "https://a.example"})
    assert created.headers["cache-control"] == "no-store"


async def test_a_change_affects_only_the_given_fields(tenant: TenantClient):
    created = await tenant.create_endpoint(
        description="before", schedule=[0, 1], headers={"A": "1", "B": "2"}
    )
    path = f"/v1/endpoints/{created['id']}"
    changed = (
        await tenant.client.patch(path, json={"filter": ["a.*"], "headers": {"a": None, "C": "3"}})
    ).json()
    assert changed["filter"] == ["a.*"]
    assert set(changed["headers"]) == {"B", "C"}
    assert changed["description"] == "before"
    assert changed["schedule"] == [0, 1]
    reset = (await tenant.client.patch(path, json={"schedule": None})).json()
    assert reset["schedule"] is None
    assert (await tenant.client.patch(path, json={})).status_code == 200


async def test_concurrent_changes_lose_nothing(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}"
    names = [f"X-{n}" for n in range(8)]
    answers = await asyncio.gather(
        *(tenant.client.patch(path, json={"headers": {name: "1"}}) for name in names)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert set((await tenant.client.get(path)).json()["headers"]) == set(names)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": None}, "url"),
        ({"filter": None}, "filter"),
        ({"filter": []}, "filter"),
        ({"state": "active"}, "state"),
        ({"signature": "v1a"}, "signature"),
        ({"secret": OWN}, "secret"),
        ({"id": "ep_x"}, "id"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"a b": "x"}}, "headers.a b"),
        ({"timeout_seconds": 31}, "timeout_seconds"),
        ({"url": "http://a.example"}, "url"),
    ],
)
async def test_a_bad_change_changes_nothing(tenant: TenantClient, changes: dict[str, object], field: str):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}"
    before = (await tenant.client.get(path)).json()
    refused = await tenant.client.patch(path, json={"description": "changed", **changes})
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert (await tenant.client.get(path)).json() == before


async def test_a_changed_filter_applies_to_the_next_event(tenant: TenantClient):
    created = await tenant.create_endpoint(filter=["order.*"])
    path = f"/v1/endpoints/{created['id']}"
    assert (await tenant.send_event("order.created"))["deliveries"] == 1
    assert (await tenant.send_event("order.item.added"))["deliveries"] == 1
    assert (await tenant.send_event("order"))["deliveries"] == 0
    await tenant.client.patch(path, json={"filter": ["invoice.paid"]})
    assert (await tenant.send_event("order.created"))["deliveries"] == 0
    assert (await tenant.send_event("invoice.paid"))["deliveries"] == 1
    await tenant.client.delete(path)
    assert (await tenant.send_event("invoice.paid"))["deliveries"] == 0


async def test_a_paused_endpoint_is_still_owed_its_events(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}"
    paused = await tenant.client.post(f"{path}/pause", json={"reason": "moving house"})
    assert paused.json()["state"] == "paused"
    assert paused.json()["state_reason"] == "moving house"
    assert (await tenant.send_event())["deliveries"] == 1
    resumed = (await tenant.client.post(f"{path}/resume")).json()
    assert resumed["state"] == "active"
    assert resumed["state_reason"] is None


async def test_a_pause_records_its_actor(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(url="https://who.example/paused")
    await tenant.client.post(f"/v1/endpoints/{created['id']}/pause")
    row = sql.execute("select state_actor from endpoints where url = 'https://who.example/paused'").fetchone()
    assert row is not None
    assert row[0].startswith("key_")


async def test_every_change_increments_the_versions(tenant: TenantClient, sql: psycopg.Connection):
    created = await tenant.create_endpoint(url="https://versions.example/")
    path = f"/v1/endpoints/{created['id']}"
    query = """select e.version, t.endpoints_version from endpoints e join tenants t on t.id = e.tenant_id
               where e.url like 'https://versions.example/%'"""
    before = sql.execute(query).fetchone()
    assert before is not None
    changes = [
        ("PATCH", path, {"filter": ["a"]}),
        ("PATCH", path, {"url": "https://versions.example/b"}),
        ("PATCH", path, {"in_flight_max": 7}),
        ("POST", f"{path}/pause", None),
        ("POST", f"{path}/resume", None),
        ("POST", f"{path}/disable", None),
        ("POST", f"{path}/enable", None),
        ("POST", f"{path}/secrets/rotate", None),
        ("DELETE", path, None),
    ]
    for method, where, body in changes:
        assert (await tenant.client.request(method, where, json=body)).is_success
        after = sql.execute(query).fetchone()
        assert after is not None
        assert after[0] > before[0], (method, where)
        assert after[1] > before[1], (method, where)
        before = after


async def test_a_deleted_endpoint_is_not_found_on_any_path(tenant: TenantClient):
    created = await tenant.create_endpoint()
    path = f"/v1/endpoints/{created['id']}"
    assert (await tenant.client.delete(path)).status_code == 204
    for method, where in (
        ("GET", path),
        ("DELETE", path),
        ("PATCH", path),
        ("POST", f"{path}/pause"),
        ("POST", f"{path}/resume"),
        ("POST", f"{path}/test"),
        ("POST", f"{path}/secrets/rotate"),
        ("GET", f"{path}/secrets"),
    ):
        body: dict[str, str] | None = {} if method == "PATCH" else None
        assert (await tenant.client.request(method, where, json=body)).status_code == 404, where
    assert (await tenant.client.get("/v1/endpoints")).json() == {"items": [], "next": None}


async def test_a_test_event_ignores_the_filter_and_reaches_one_endpoint(tenant: TenantClient):
    await tenant.create_endpoint()
    chosen = await tenant.create_endpoint(filter=["nothing.else"])
    sent = await tenant.client.post(f"/v1/endpoints/{chosen['id']}/test")
    assert sent.status_code == 202
    assert sent.json()["type"] == "waybill.test"
    (owed,) = await tenant.list_deliveries(event=sent.json()["id"])
    assert owed["endpoint_id"] == chosen["id"]


async def test_endpoint_pages_are_stable_during_inserts(tenant: TenantClient):
    created = [(await tenant.create_endpoint())["id"] for _ in range(5)]
    first = (await tenant.client.get("/v1/endpoints", params={"limit": 2})).json()
    await tenant.create_endpoint()
    await tenant.client.delete(f"/v1/endpoints/{created[2]}")
    rest = (await tenant.client.get("/v1/endpoints", params={"cursor": first["next"]})).json()
    result = [item["id"] for item in first["items"] + rest["items"]]
    assert result == [created[4], created[3], created[1], created[0]]
    assert rest["next"] is None
