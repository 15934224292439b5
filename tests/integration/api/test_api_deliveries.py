"""Deliveries and attempts: reading, listing and replaying them."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import pytest_asyncio

from delivery.domain.ids import AttemptId, Prefix, build_min_id, format_id, new_id, parse_id
from tests.support import postgres

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


def finish(sql: psycopg.Connection, delivery: str, status: str = "failed") -> None:
    """Finish a delivery, as the recorder does."""
    id_ = parse_id(Prefix.DELIVERY, delivery)
    sql.execute("delete from schedule where delivery_id = %s", [id_])
    sql.execute(
        "update deliveries set status = %s, reason = 'the schedule is spent', attempts = 10,"
        " finished_at = now() where id = %s",
        [status, id_],
    )


def claim(sql: psycopg.Connection, delivery: str) -> None:
    """Claim a delivery for a worker."""
    id_ = parse_id(Prefix.DELIVERY, delivery)
    sql.execute("update schedule set claim_id = %s where delivery_id = %s", [new_id(), id_])


def attempt(
    sql: psycopg.Connection,
    delivery: str,
    *,
    number: int = 1,
    status: int | None = 503,
    body: bytes = b"busy",
) -> str:
    """Record an attempt."""
    id_ = AttemptId(new_id())
    sql.execute(
        """
        insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, total_us,
            url, address, request_headers, body_sha256, key_ids, status, response_headers, response_body,
            response_truncated, outcome, detail, decision, reason, worker)
        select %s, d.id, d.tenant_id, d.endpoint_id, d.event_id, %s, now(), 12500,
            'https://shop.example/in', '203.0.113.7', '{"webhook-id": "evt_x"}', e.body_sha256, 'aaa,bbb', %s,
            '[["server", "x"], ["set-cookie", "a"], ["set-cookie", "b"]]', %s,
            false, 'refused', 'It answered 503.', 'retry', 'it may be better later', 'host:1'
        from deliveries d join events e on e.id = d.event_id where d.id = %s
        """,
        [id_, number, status, body, parse_id(Prefix.DELIVERY, delivery)],
    )
    return format_id(Prefix.ATTEMPT, id_)


@pytest_asyncio.fixture(loop_scope="session")
async def owed(tenant: TenantClient) -> str:
    """A pending delivery."""
    await tenant.create_endpoint()
    await tenant.send_event()
    (delivery,) = await tenant.list_deliveries()
    return str(delivery["id"])


async def test_a_delivery_shows_its_status(tenant: TenantClient, owed: str, sql: psycopg.Connection):
    async def status() -> str:
        return str((await tenant.client.get(f"/v1/deliveries/{owed}")).json()["status"])

    assert await status() == "pending"
    claim(sql, owed)
    assert await status() == "in_flight"
    finish(sql, owed, "succeeded")
    assert await status() == "succeeded"


@pytest.mark.parametrize("status", ["pending", "in_flight", "succeeded", "failed", "cancelled"])
async def test_deliveries_are_listed_by_status(tenant: TenantClient, sql: psycopg.Connection, status: str):
    await tenant.create_endpoint()
    await tenant.client.post("/v1/events/batch", json={"events": [{"type": "a", "data": 1}] * 5})
    by_status = dict(
        zip(
            ("pending", "in_flight", "succeeded", "failed", "cancelled"),
            [delivery["id"] for delivery in await tenant.list_deliveries()],
            strict=True,
        )
    )
    claim(sql, by_status["in_flight"])
    for final in ("succeeded", "failed", "cancelled"):
        finish(sql, by_status[final], final)
    listed = await tenant.list_deliveries(status=status)
    assert [(item["id"], item["status"]) for item in listed] == [(by_status[status], status)]


async def test_deliveries_are_listed_by_endpoint_event_and_time(tenant: TenantClient):
    first, second = await tenant.create_endpoint(), await tenant.create_endpoint(filter=["b"])
    a, b = await tenant.send_event("a"), await tenant.send_event("b")
    assert len(await tenant.list_deliveries()) == 3
    assert len(await tenant.list_deliveries(endpoint=first["id"])) == 2
    assert len(await tenant.list_deliveries(endpoint=second["id"])) == 1
    assert {d["event_id"] for d in await tenant.list_deliveries(event=b["id"])} == {b["id"]}
    both = await tenant.list_deliveries(event=a["id"], endpoint=second["id"])
    assert both == []
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await tenant.list_deliveries(since=soon) == []
    assert len(await tenant.list_deliveries(until=soon)) == 3


async def test_a_replayed_final_delivery_restarts_its_schedule(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    finish(sql, owed)
    retried = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert retried.status_code == 200
    assert retried.json()["status"] == "pending"
    assert retried.json()["attempts"] == 10
    assert retried.json()["finished_at"] is None
    assert retried.json()["reason"].startswith("replayed by key_")
    row = sql.execute(
        "select step, attempts, due_at <= now(), claim_id from schedule where delivery_id = %s",
        [parse_id(Prefix.DELIVERY, owed)],
    ).fetchone()
    assert row == (0, 10, True, None)


async def test_a_replayed_waiting_delivery_is_due_at_once(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    id_ = parse_id(Prefix.DELIVERY, owed)
    sql.execute(
        "update schedule set due_at = now() + interval '1 day', step = 3 where delivery_id = %s", [id_]
    )
    retried = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert datetime.fromisoformat(retried.json()["due_at"]) <= datetime.now(UTC)
    assert sql.execute("select step from schedule where delivery_id = %s", [id_]).fetchone() == (3,)


async def test_a_delivery_in_flight_cannot_be_retried(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    claim(sql, owed)
    assert (await tenant.client.post(f"/v1/deliveries/{owed}/replay")).status_code == 409


async def test_concurrent_retries_send_it_once(tenant: TenantClient, owed: str, sql: psycopg.Connection):
    finish(sql, owed)
    answers = await asyncio.gather(*(tenant.client.post(f"/v1/deliveries/{owed}/replay") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    id_ = parse_id(Prefix.DELIVERY, owed)
    assert sql.execute("select count(*) from schedule where delivery_id = %s", [id_]).fetchone() == (1,)


@pytest.mark.parametrize("final", [True, False])
async def test_nothing_is_retried_while_its_endpoint_is_not_active(
    tenant: TenantClient, owed: str, sql: psycopg.Connection, *, final: bool
):
    if final:
        finish(sql, owed)
    endpoint = (await tenant.client.get("/v1/endpoints")).json()["items"][0]["id"]
    await tenant.client.post(f"/v1/endpoints/{endpoint}/pause")
    paused = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert paused.status_code == 409
    assert f"/v1/endpoints/{endpoint}/resume" in paused.json()["detail"]
    await tenant.client.post(f"/v1/endpoints/{endpoint}/resume")
    assert (await tenant.client.post(f"/v1/deliveries/{owed}/replay")).status_code == 200
    await tenant.client.delete(f"/v1/endpoints/{endpoint}")
    deleted = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert deleted.status_code == 409
    assert "deleted" in deleted.json()["detail"]


@pytest.mark.parametrize(("done", "way_on"), [("pause", "resume"), ("disable", "enable")])
async def test_refused_retry_explains_what_to_do(tenant: TenantClient, owed: str, done: str, way_on: str):
    endpoint = (await tenant.client.get("/v1/endpoints")).json()["items"][0]["id"]
    await tenant.client.post(f"/v1/endpoints/{endpoint}/{done}")
    refused = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert refused.status_code == 409
    assert f"POST /v1/endpoints/{endpoint}/{way_on}" in refused.json()["detail"]
    assert (await tenant.client.post(f"/v1/endpoints/{endpoint}/{way_on}")).status_code == 200
    assert (await tenant.client.post(f"/v1/deliveries/{owed}/replay")).status_code == 200


@pytest.mark.parametrize("done", ["pause", "disable"])
async def test_replay_with_hold_waits_for_a_disabled_endpoint(
    tenant: TenantClient, owed: str, sql: psycopg.Connection, done: str
):
    finish(sql, owed)
    endpoint = (await tenant.client.get("/v1/endpoints")).json()["items"][0]["id"]
    await tenant.client.post(f"/v1/endpoints/{endpoint}/{done}")
    repeated = await tenant.client.post(f"/v1/deliveries/{owed}/replay", json={"hold": True})
    assert repeated.status_code == 200
    assert (repeated.json()["status"], repeated.json()["held"]["by"]) == ("pending", f"{done}d")


async def test_the_reason_of_a_replay_is_stored(tenant: TenantClient, owed: str):
    requested = {"reason": "the receiver lost it"}
    assert (await tenant.client.post(f"/v1/deliveries/{owed}/replay", json=requested)).status_code == 200
    found = (await tenant.client.get("/v1/audit", params={"what": "delivery.replayed"})).json()["items"]
    assert [(item["reason"], item["delivery_id"]) for item in found] == [("the receiver lost it", owed)]
    body = (await tenant.client.get(f"/v1/deliveries/{owed}/trace")).json()["steps"][-1]
    assert ", because: the receiver lost it; it was pending" in body["sentence"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": 1}, "reason"),
        ({"reason": "x" * 2001}, "reason"),
        ({"hold": "so"}, "hold"),
        ({"on": 1}, "on"),
    ],
)
async def test_an_invalid_replay_is_refused_with_its_field(
    tenant: TenantClient, owed: str, body: dict[str, object], field: str
):
    refused = await tenant.client.post(f"/v1/deliveries/{owed}/replay", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field


async def test_delivery_without_stored_content_is_not_replayed(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    finish(sql, owed)
    sql.execute(
        "update events set body = null where id = (select event_id from deliveries where id = %s)",
        [parse_id(Prefix.DELIVERY, owed)],
    )
    refused = await tenant.client.post(f"/v1/deliveries/{owed}/replay")
    assert refused.status_code == 409
    assert "no longer stored" in refused.json()["detail"]


@pytest.mark.parametrize("requested", ["retry", "resume"])
async def test_retry_or_resume_notifies_the_relay(
    tenant: TenantClient, owed: str, sql: psycopg.Connection, api_database_url: str, requested: str
):
    finish(sql, owed)
    endpoint = (await tenant.client.get("/v1/endpoints")).json()["items"][0]["id"]
    if requested == "resume":
        await tenant.client.post(f"/v1/endpoints/{endpoint}/pause")
    with postgres.connect(api_database_url) as listener:
        listener.execute("listen waybill_due")
        paths = {"retry": f"/v1/deliveries/{owed}/replay", "resume": f"/v1/endpoints/{endpoint}/resume"}
        assert (await tenant.client.post(paths[requested])).status_code == 200
        assert next(listener.notifies(timeout=10, stop_after=1)).channel == "waybill_due"


async def test_an_attempt_shows_its_request_and_response(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    created = attempt(sql, owed, body=b"busy \xc3\xa4")
    body = (await tenant.client.get(f"/v1/attempts/{created}")).json()
    assert body["timings"] == {
        "dns_ms": None, "connect_ms": None, "tls_ms": None, "first_byte_ms": None, "total_ms": 12.5,
    }  # fmt: skip
    assert body["response"]["body"] == "busy ä"
    assert body["response"]["body_encoding"] == "text"
    assert body["response"]["headers"] == [["server", "x"], ["set-cookie", "a"], ["set-cookie", "b"]]
    assert body["request"]["key_ids"] == ["aaa", "bbb"]
    sent = body["request"]["body"].encode()
    assert hashlib.sha256(sent).hexdigest() == body["request"]["body_sha256"]


@pytest.mark.parametrize(("body", "expected"), [(b"\xff\x00", "/wA="), (b"", ""), (b"\0", "\0")])
async def test_a_binary_body_is_shown_in_base64(
    tenant: TenantClient, owed: str, sql: psycopg.Connection, body: bytes, expected: str
):
    response = (await tenant.client.get(f"/v1/attempts/{attempt(sql, owed, body=body)}")).json()["response"]
    assert response["body"] == expected
    assert response["body_encoding"] == ("base64" if body.startswith(b"\xff") else "text")


async def test_an_attempt_without_a_response_has_a_null_response(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    created = attempt(sql, owed, status=None)
    assert (await tenant.client.get(f"/v1/attempts/{created}")).json()["response"] is None


async def test_attempts_are_listed_newest_first_page_by_page(
    tenant: TenantClient, owed: str, sql: psycopg.Connection
):
    for number in range(1, 6):
        attempt(sql, owed, number=number)
    path = f"/v1/deliveries/{owed}/attempts"
    first = (await tenant.client.get(path, params={"limit": 3})).json()
    rest = (await tenant.client.get(path, params={"cursor": first["next"]})).json()
    assert [item["number"] for item in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    read = (await tenant.client.get(f"/v1/deliveries/{owed}")).json()
    assert [item["number"] for item in read["latest_attempts"]] == [5, 4, 3, 2, 1]
    assert "body" not in first["items"][0]["response"]


async def test_a_rare_type_is_found_behind_many_other_rows(tenant: TenantClient, sql: psycopg.Connection):
    endpoint = parse_id(Prefix.ENDPOINT, (await tenant.create_endpoint())["id"])
    rows = 20_050
    newest = build_min_id(datetime.now(UTC)).int
    with (
        sql.cursor() as cursor,
        cursor.copy(
            "copy deliveries (id, tenant_id, event_id, endpoint_id, event_type, status, created_at)"
            " from stdin"
        ) as copy,
    ):
        for n in range(rows):
            type_ = "rare" if n == 0 else "a"
            tenant_id, id_ = parse_id(Prefix.TENANT, tenant.id), UUID(int=newest + n)
            copy.write_row((id_, tenant_id, new_id(), endpoint, type_, "succeeded", datetime.now(UTC)))
    first = (await tenant.client.get("/v1/deliveries", params={"type": "rare"})).json()
    assert first["items"] == []
    query = {"type": "rare", "cursor": first["next"]}
    rest = (await tenant.client.get("/v1/deliveries", params=query)).json()
    assert [item["id"] for item in rest["items"]] == [format_id(Prefix.DELIVERY, UUID(int=newest))]
    assert rest["next"] is None
