"""Events: accepted once, with the same response when repeated, and shown as delivered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"Content-Type": "application/json"}


async def test_an_events_body_is_the_delivered_bytes(tenant: TenantClient):
    data = b'{ "big":123456789012345678901234567890, "e":1.50e+3,"e":"twice", "u":"\\u00e4 \xc3\xa4" }'
    sent = await tenant.client.post(
        "/v1/events", content=b'{"type":"order.created","data":' + data + b"}", headers=JSON
    )
    assert sent.status_code == 202
    assert sent.headers["content-type"] == "application/json"
    body = await tenant.client.get(f"/v1/events/{sent.json()['id']}")
    assert body.content.endswith(b',"data":' + data + b"}}")
    assert body.json()["type"] == "order.created"
    assert body.json()["body"]["timestamp"] == sent.json()["created_at"]


async def test_a_repeated_idempotency_key_returns_the_same_event(tenant: TenantClient):
    body = {"type": "order.created", "data": {"n": 1}}
    headers = {"Idempotency-Key": "order-1042"}
    first = await tenant.client.post("/v1/events", json=body, headers=headers)
    second = await tenant.client.post("/v1/events", json=body, headers=headers)
    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len((await tenant.client.get("/v1/events")).json()["items"]) == 1


async def test_the_same_idempotency_key_with_another_body_is_a_conflict(tenant: TenantClient):
    headers = {"Idempotency-Key": "order-1042"}
    await tenant.client.post("/v1/events", json={"type": "a", "data": 1}, headers=headers)
    refused = await tenant.client.post("/v1/events", json={"type": "a", "data": 2}, headers=headers)
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/conflict"
    assert len((await tenant.client.get("/v1/events")).json()["items"]) == 1


async def test_concurrent_duplicates_are_one_event(tenant: TenantClient):
    body = {"type": "order.created", "data": {"n": 1}}
    headers = {"Idempotency-Key": "at once"[:2]}
    answers = await asyncio.gather(
        *(tenant.client.post("/v1/events", json=body, headers=headers) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7


async def test_idempotency_keys_are_separate_for_each_tenant(
    tenant: TenantClient, other_tenant: TenantClient
):
    mine = await tenant.send_event(**{"Idempotency-Key": "same"})
    theirs = await other_tenant.send_event(**{"Idempotency-Key": "same"})
    assert mine["id"] != theirs["id"]


async def test_batch_results_are_in_order(tenant: TenantClient):
    await tenant.create_endpoint(filter=["b.*"])
    batch = {"events": [{"type": type_, "data": None} for type_ in ("a.x", "b.x", "b.y")]}
    headers = {"Idempotency-Key": "batch"}
    sent = await tenant.client.post("/v1/events/batch", json=batch, headers=headers)
    assert sent.status_code == 202
    assert [event["type"] for event in sent.json()["events"]] == ["a.x", "b.x", "b.y"]
    assert [event["deliveries"] for event in sent.json()["events"]] == [0, 1, 1]
    repeated = await tenant.client.post("/v1/events/batch", json=batch, headers=headers)
    assert repeated.content == sent.content
    assert repeated.headers["idempotency-replayed"] == "true"


async def test_events_are_listed_by_type_and_by_time(tenant: TenantClient):
    first, second = await tenant.send_event("a.b"), await tenant.send_event("c.d")
    listed = (await tenant.client.get("/v1/events", params={"type": "a.b"})).json()["items"]
    assert [event["id"] for event in listed] == [first["id"]]
    since = {"since": second["created_at"]}
    assert second["id"] in (await tenant.client.get("/v1/events", params=since)).text
    until = {"until": first["created_at"]}
    assert (await tenant.client.get("/v1/events", params=until)).json()["items"] == []


@pytest.mark.parametrize("path", ["/v1/events", "/v1/deliveries"])
async def test_pages_have_every_row_once_during_inserts(tenant: TenantClient, path: str):
    await tenant.create_endpoint()
    batch = {"events": [{"type": "a", "data": n} for n in range(25)]}
    await tenant.client.post("/v1/events/batch", json=batch)
    before = [item["id"] for item in (await tenant.client.get(path)).json()["items"]]
    assert len(before) == 25
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 4}
    while True:
        page = (await tenant.client.get(path, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        await tenant.send_event("a")
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == before
