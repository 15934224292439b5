"""Erasure: content is deleted permanently; actor, time and reason stay."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.ids import Prefix, parse_id
from tests.integration.api.test_api_audit import audit
from tests.integration.api.test_api_deliveries import attempt, claim, finish

if TYPE_CHECKING:
    import httpx
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "4111 1111 1111 1111"  # noqa: S105  what is to be erased


async def send_secret(tenant: TenantClient, *, endpoints: int = 0) -> str:
    """An event that contains the secret, with this many deliveries."""
    for _ in range(endpoints):
        await tenant.create_endpoint()
    sent = await tenant.client.post("/v1/events", json={"type": "card.used", "data": {"card": SECRET}})
    return str(sent.json()["id"])


async def erase(tenant: TenantClient, event: str, **requested: Any) -> httpx.Response:
    return await tenant.client.delete(f"/v1/events/{event}/content", params=requested)


async def read(tenant: TenantClient, path: str) -> dict[str, Any]:
    answer = await tenant.client.get(path)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_an_erased_event_is_marked_and_empty(tenant: TenantClient, sql: psycopg.Connection) -> None:
    event = await send_secret(tenant)
    row = "select body, body_sha256 from events where id = %s"
    ((before, hashed),) = sql.execute(row, [parse_id(Prefix.EVENT, event)]).fetchall()
    answer = await erase(tenant, event, reason="the customer asked")
    assert answer.status_code == 200
    result = await read(tenant, f"/v1/events/{event}")
    assert result["body"] is None
    assert result["erased_at"] == answer.json()["erased_at"] is not None
    (listed,) = (await read(tenant, "/v1/events"))["items"]
    assert listed["erased_at"] == result["erased_at"]
    after = sql.execute(row, [parse_id(Prefix.EVENT, event)]).fetchall()
    assert after == [(None, hashed)]
    assert hashlib.sha256(before).digest() == hashed


async def test_erasure_is_audited_once_and_idempotent(tenant: TenantClient) -> None:
    event = await send_secret(tenant)
    first = await erase(tenant, event, reason="the customer asked")
    repeated = await erase(tenant, event, reason="once more")
    assert (repeated.status_code, repeated.json()) == (200, first.json())
    (entry,) = await audit(tenant.client, what="event.*")
    assert (entry["what"], entry["reason"]) == ("event.content_erased", "the customer asked")
    assert (entry["actor"][:4], entry["address"]) == ("key_", "127.0.0.1")
    assert entry["details"] == {"event_id": event, "cancelled": 0}
    assert SECRET not in str(entry)


async def test_an_erased_event_is_not_found_by_its_payload(tenant: TenantClient) -> None:
    event = await send_secret(tenant, endpoints=1)
    searched = {"payload": f"$.card={SECRET}"}
    assert len(await tenant.list_deliveries(**searched)) == 1
    await erase(tenant, event, cancel_pending="true")
    assert await tenant.list_deliveries(**searched) == []


async def test_pending_deliveries_prevent_erasure_unless_cancelled(tenant: TenantClient) -> None:
    event = await send_secret(tenant, endpoints=2)
    refused = await erase(tenant, event)
    assert refused.status_code == 409
    assert "2 pending deliveries" in refused.json()["detail"]
    assert (await read(tenant, f"/v1/events/{event}"))["body"] is not None
    assert (await erase(tenant, event, cancel_pending="true")).status_code == 200
    ended = await tenant.list_deliveries(event=event)
    assert [(item["status"], item["reason"]) for item in ended] == [("cancelled", "payload_erased")] * 2
    (entry,) = await audit(tenant.client, what="event.*")
    assert entry["details"]["cancelled"] == 2
    trace = await read(tenant, f"/v1/deliveries/{ended[0]['id']}/trace")
    assert trace["steps"][-1]["sentence"] == (
        "Cancelled: The content of its event was erased, so there is nothing to send."
    )


async def test_finished_deliveries_stay_unchanged(tenant: TenantClient, sql: psycopg.Connection) -> None:
    event = await send_secret(tenant, endpoints=1)
    (owed,) = await tenant.list_deliveries()
    finish(sql, owed["id"], "succeeded")
    assert (await erase(tenant, event)).status_code == 200
    (after,) = await tenant.list_deliveries()
    assert after["status"] == "succeeded"


async def test_erasure_is_refused_while_a_delivery_is_in_flight(
    tenant: TenantClient, sql: psycopg.Connection
) -> None:
    event = await send_secret(tenant, endpoints=2)
    held, other = await tenant.list_deliveries()
    claim(sql, held["id"])
    refused = await erase(tenant, event, cancel_pending="true")
    assert refused.status_code == 409
    assert "Ask again" in refused.json()["detail"]
    assert [delivery["status"] for delivery in await tenant.list_deliveries()] == ["in_flight", "pending"]
    assert (await read(tenant, f"/v1/events/{event}"))["erased_at"] is None
    assert await audit(tenant.client, what="event.*") == []
    finish(sql, held["id"])
    assert (await erase(tenant, event, cancel_pending="true")).status_code == 200
    assert (await read(tenant, f"/v1/deliveries/{other['id']}"))["status"] == "cancelled"


async def test_erasure_does_not_wait_for_a_concurrent_claim(
    tenant: TenantClient, sql: psycopg.Connection
) -> None:
    event = await send_secret(tenant, endpoints=2)
    delivery, _ = await tenant.list_deliveries()
    with sql.transaction():
        sql.execute(
            "select from schedule where delivery_id = %s for update",
            [parse_id(Prefix.DELIVERY, delivery["id"])],
        )
        assert (await erase(tenant, event, cancel_pending="true")).status_code == 409
    assert {delivery["status"] for delivery in await tenant.list_deliveries()} == {"pending"}
    assert (await erase(tenant, event, cancel_pending="true")).status_code == 200


async def test_concurrent_erasures_write_one_audit_entry(tenant: TenantClient) -> None:
    event = await send_secret(tenant, endpoints=2)
    answers = await asyncio.gather(*[erase(tenant, event, cancel_pending="true") for _ in range(3)])
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["erased_at"] for answer in answers}) == 1
    assert len(await audit(tenant.client, what="event.*")) == 1


async def test_erased_events_cannot_be_replayed(tenant: TenantClient, sql: psycopg.Connection) -> None:
    event = await send_secret(tenant, endpoints=1)
    (owed,) = await tenant.list_deliveries()
    finish(sql, owed["id"])
    await erase(tenant, event)
    replayed = await tenant.client.post(f"/v1/deliveries/{owed['id']}/replay")
    assert replayed.status_code == 409
    assert "no longer stored" in replayed.json()["detail"]


async def test_an_erased_response_is_marked_and_empty(tenant: TenantClient, sql: psycopg.Connection) -> None:
    event = await send_secret(tenant, endpoints=1)
    (owed,) = await tenant.list_deliveries()
    tried = attempt(sql, owed["id"], body=SECRET.encode())
    path = f"/v1/attempts/{tried}"
    before = await read(tenant, path)
    assert before["response"]["body"] == SECRET
    assert before["erased_at"] is None
    answer = await tenant.client.delete(f"{path}/content", params={"reason": "it held a card"})
    assert answer.status_code == 200
    after = await read(tenant, path)
    assert after["response"] == before["response"] | {"headers": [], "body": None, "body_encoding": None}
    assert after["erased_at"] == answer.json()["erased_at"] is not None
    stored = before.keys() - {"response", "erased_at"}
    assert {name: after[name] for name in stored} == {name: before[name] for name in stored}
    assert (await tenant.client.delete(f"{path}/content")).json() == answer.json()
    (entry,) = await audit(tenant.client, what="attempt.*")
    assert (entry["reason"], entry["delivery_id"]) == ("it held a card", owed["id"])
    assert entry["details"] == {"attempt_id": tried, "number": 1}
    trace = await read(tenant, f"/v1/deliveries/{owed['id']}/trace")
    assert "The response of the attempt was erased" in str(trace)
    assert (await read(tenant, f"/v1/events/{event}"))["body"] is not None


async def test_an_attempt_without_a_response_can_be_erased_too(
    tenant: TenantClient, sql: psycopg.Connection
) -> None:
    await send_secret(tenant, endpoints=1)
    (owed,) = await tenant.list_deliveries()
    tried = attempt(sql, owed["id"], status=None, body=b"")
    assert (await tenant.client.delete(f"/v1/attempts/{tried}/content")).status_code == 200
    result = await read(tenant, f"/v1/attempts/{tried}")
    assert (result["response"], result["erased_at"] is None) == (None, False)


async def test_other_tenants_content_cannot_be_erased(
    tenant: TenantClient, other_tenant: TenantClient, sql: psycopg.Connection
) -> None:
    event = await send_secret(tenant, endpoints=1)
    (owed,) = await tenant.list_deliveries()
    tried = attempt(sql, owed["id"])
    assert (await erase(other_tenant, event, cancel_pending="true")).status_code == 404
    assert (await other_tenant.client.delete(f"/v1/attempts/{tried}/content")).status_code == 404
    assert (await read(tenant, f"/v1/events/{event}"))["body"] is not None
    assert (await read(tenant, f"/v1/attempts/{tried}"))["response"]["body"] == "busy"
    assert await audit(other_tenant.client, what="event.*") == []


@pytest.mark.parametrize(
    ("requested", "field"),
    [
        ({"cancel_pending": "perhaps"}, "cancel_pending"),
        ({"cancel_pending": ""}, "cancel_pending"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "\0"}, "reason"),
        ({"nonsense": "1"}, "nonsense"),
    ],
)
async def test_invalid_erasure_requests_erase_nothing(
    tenant: TenantClient, requested: dict[str, str], field: str
) -> None:
    event = await send_secret(tenant)
    answer = await erase(tenant, event, **requested)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert (await read(tenant, f"/v1/events/{event}"))["body"] is not None
