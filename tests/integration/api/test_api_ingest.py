"""AMQP messages become events or dead letters, which the operator lists, retries and discards."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from delivery.bootstrap import Services
from delivery.domain.errors import Unavailable
from delivery.domain.ids import Prefix, format_id, new_id
from delivery.domain.inbound_message import InboundMessage
from delivery.ledger.db.session import Ledger
from tests.integration.api.conftest import OPERATOR_KEY
from tests.support.ledger_builders import make_maintenance
from tests.support.wire_counting import count_database_traffic

if TYPE_CHECKING:
    import httpx
    import psycopg

    from delivery.config import Settings
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/ingest/messages"


def message(key: str | None, data: object = 1, **changed: Any) -> InboundMessage:
    """A message as a producer publishes it, with its own message-id."""
    body = json.dumps({"type": "order.created", "data": data}).encode()
    return replace(InboundMessage(body, secrets.token_hex(8), key, publisher="shop"), **changed)


async def set_aside(operator: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The dead letters, newest first."""
    answer = await operator.get(PATH, params={"limit": 100})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def events(tenant: TenantClient) -> list[dict[str, Any]]:
    listed = await tenant.client.get("/v1/events")
    return list(listed.json()["items"])


async def refuse(services: Services, operator: httpx.AsyncClient, item: InboundMessage) -> dict[str, Any]:
    """Make a message fail; returns its dead letter."""
    assert not await services.amqp_intake.handle_message(item)
    return (await set_aside(operator))[0]


# ---- what is accepted
async def test_a_message_becomes_an_event_with_the_same_bytes(services: Services, tenant: TenantClient):
    await tenant.create_endpoint()
    item = message(tenant.key, body=b'{"type": "order.created", "data": {"total": 1.50}}')
    assert await services.amqp_intake.handle_message(item)
    (event,) = await events(tenant)
    assert event["deliveries"] == 1
    read = await tenant.client.get(f"/v1/events/{event['id']}")
    assert b'"data":{"total": 1.50}' in read.content


async def test_a_message_may_have_channels(services: Services, tenant: TenantClient):
    endpoint = await tenant.create_endpoint(channels=["eu"])
    for channels in (b'["eu"]', b'["us"]'):
        body = b'{"type": "order.created", "data": 1, "channels": %b}' % channels
        assert await services.amqp_intake.handle_message(message(tenant.key, body=body))
    (delivery,) = await tenant.list_deliveries()
    assert delivery["endpoint_id"] == endpoint["id"]
    wrong = message(tenant.key, body=b'{"type": "order.created", "data": 1, "channels": ["a b"]}')
    assert not await services.amqp_intake.handle_message(wrong)


async def test_a_repeated_message_is_the_same_event_over_amqp_and_http(
    services: Services, tenant: TenantClient
):
    item = message(tenant.key)
    for _ in range(3):
        assert await services.amqp_intake.handle_message(item)
    repeated = await tenant.client.post(
        "/v1/events",
        content=item.body,
        headers={"Idempotency-Key": item.message_id or "", "Content-Type": "application/json"},
    )
    assert repeated.headers["idempotency-replayed"] == "true"
    assert [event["id"] for event in await events(tenant)] == [repeated.json()["id"]]


async def test_concurrent_messages_share_commits(
    api_database_url: str, settings: Settings, tenant: TenantClient
):
    with count_database_traffic(api_database_url) as counted:
        wired = Services(settings, Ledger(counted.url, pool_size=4))
        try:
            await wired.amqp_intake.handle_message(
                message(tenant.key)
            )  # the key, and the tenant's endpoints, are known then
            before = len(counted.transactions)
            assert all(
                await asyncio.gather(
                    *[wired.amqp_intake.handle_message(message(tenant.key, n)) for n in range(300)]
                )
            )
            assert len(counted.transactions) - before < 15
        finally:
            await wired.close()
    listed = await tenant.client.get("/v1/events", params={"limit": 100})
    assert len(listed.json()["items"]) == 100


# ---- what is set aside
FAULTS = {
    "no key": ({"api_key": None}, "waybill-key: is needed"),
    "an empty key": ({"api_key": ""}, "waybill-key: is needed"),
    "an unknown key": ({"api_key": "wbk_" + "x" * 43}, "holds no API key that is known"),
    "the operator's key": ({"api_key": OPERATOR_KEY}, "holds no API key that is known"),
    "no message-id": ({"message_id": None}, "message-id: is needed"),
    "an odd message-id": ({"message_id": "two words"}, "message-id: must be 1 to 255 visible ASCII"),
    "no JSON": ({"body": b"<order/>"}, "body: is not JSON"),
    "no bytes": ({"body": b""}, "body: is not JSON"),
    "no type": ({"body": b'{"data": 1}'}, "type: is needed"),
    "a field more": ({"body": b'{"type": "a", "data": 1, "x": 2}'}, "x: is not a known field"),
    "a packed body": ({"content_encoding": "gzip"}, "content-encoding: packed bodies are not taken"),
    "a type that is none": ({"body": b'{"type": "a b", "data": 1}'}, "type: An event type is made of"),
}


@pytest.mark.parametrize(("changed", "why"), FAULTS.values(), ids=FAULTS)
async def test_an_unacceptable_message_is_dead_lettered_with_the_reason(
    services: Services,
    operator: httpx.AsyncClient,
    tenant: TenantClient,
    changed: dict[str, Any],
    why: str,
):
    item = replace(message(tenant.key, secrets.token_hex(8)), **changed)
    result = await refuse(services, operator, item)
    assert why in result["reason"]
    assert (result["message_id"], result["publisher"], result["size"]) == (
        item.message_id,
        "shop",
        len(item.body),
    )
    assert result["tenant_id"] == (None if "api_key" in changed else tenant.id)
    read = (await operator.get(f"{PATH}/{result['id']}")).json()
    assert base64.b64decode(read["body_base64"]) == item.body
    assert await events(tenant) == []


async def test_a_key_without_publish_scope_or_expired_accepts_nothing(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    keys = f"/v1/tenants/{tenant.id}/keys"
    reader = (await operator.post(keys, json={"name": "x", "scopes": ["read"]})).json()
    result = await refuse(services, operator, message(reader["key"]))
    assert "scope `publish`" in result["reason"]
    assert (result["tenant_id"], result["key_id"]) == (tenant.id, reader["id"])
    ended = (await operator.post(keys, json={"name": "x"})).json()
    assert await services.amqp_intake.handle_message(message(ended["key"]))
    await operator.delete(f"{keys}/{ended['id']}")
    result = await refuse(services, operator, message(ended["key"]))
    assert "holds no API key that is known" in result["reason"]


async def test_a_redelivered_message_is_one_dead_letter(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    item = message(tenant.key, body=b"?", message_id=secrets.token_hex(8))
    first = await refuse(services, operator, item)
    repeated = await refuse(services, operator, item)
    assert (repeated["id"], repeated["times"]) == (first["id"], 2)
    other = await refuse(services, operator, replace(item, body=b"!"))
    assert (other["id"] == first["id"], other["times"]) == (False, 1)


async def test_dead_letters_do_not_reveal_the_api_key(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient, sql: psycopg.Connection
):
    await refuse(services, operator, message(tenant.key, body=b"?"))
    await refuse(services, operator, message("wbk_" + "y" * 43))
    rows = sql.execute("select one::text, encode(body, 'escape') from refused_messages one").fetchall()
    assert rows
    assert not [row for row in rows if tenant.key in str(row) or "y" * 43 in str(row)]
    assert tenant.key not in repr(message(tenant.key))


async def test_undecodable_message_text_is_sanitized_and_dead_lettered(
    services: Services, operator: httpx.AsyncClient
):
    odd = "a\0\ud800" + "x" * 600
    result = await refuse(services, operator, message(None, message_id=odd, publisher=odd))
    assert result["message_id"].startswith("a␀?xxx")
    assert len(result["publisher"]) == 500


async def test_unexpected_storage_error_keeps_only_the_message_body(
    services: Services, operator: httpx.AsyncClient
):
    result = await refuse(services, operator, message(None, body=b"odd", publisher=7))
    assert (result["message_id"], result["publisher"], result["size"]) == (None, None, 3)
    assert "unexpected error" in result["reason"]


async def test_a_truncated_body_is_the_same_message(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    whole = message(tenant.key, "x" * 2_000_000)
    cut = whole.truncate_body(262_144)
    assert (len(cut.body), cut.size) == (1 << 20, whole.size)
    result = await refuse(services, operator, whole)
    repeated = await refuse(services, operator, cut)
    assert (repeated["id"], repeated["times"], repeated["size"]) == (result["id"], 2, whole.size)
    assert repeated["reason"] == result["reason"]
    assert whole.truncate_body(whole.size) is whole
    small = message(tenant.key, "x" * 300_000)
    assert small.truncate_body(262_144) is small


async def test_without_a_database_nothing_is_acknowledged(settings: Settings, tenant: TenantClient):
    wired = Services(settings, Ledger("postgresql://waybill@127.0.0.1:9/nowhere"))
    for case in (message(tenant.key), message(None)):
        with pytest.raises(Unavailable):
            await wired.amqp_intake.handle_message(case)
    await wired.close()


# ---- what the operator does
async def test_a_corrected_message_is_accepted_once(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    item = message(None, message_id="m-1")
    result = await refuse(services, operator, item)
    path = f"{PATH}/{result['id']}/retry"
    refused = await operator.post(path)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "tenant_id"
    requested = {"tenant_id": tenant.id, "reason": "ours"}
    answers = await asyncio.gather(*[operator.post(path, json=requested) for _ in range(4)])
    assert {answer.status_code for answer in answers} <= {200, 404}
    (event,) = await events(tenant)
    assert {a.json()["event_id"] for a in answers if a.status_code == 200} == {event["id"]}
    assert (await operator.get(f"{PATH}/{result['id']}")).status_code == 404
    # Published again, it is still the same event.
    assert await services.amqp_intake.handle_message(replace(item, api_key=tenant.key))
    assert len(await events(tenant)) == 1
    audited = (await tenant.client.get("/v1/audit", params={"what": "message.*"})).json()["items"]
    assert [(entry["what"], entry["actor"], entry["reason"]) for entry in audited] == [
        ("message.retried", "operator", "ours")
    ]
    assert audited[0]["details"]["event_id"] == event["id"]


async def test_a_message_without_an_id_is_one_event_after_retries(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient, sql: psycopg.Connection
):
    result = await refuse(services, operator, message(tenant.key, message_id=None))
    sql.execute("create table kept as select * from refused_messages")
    answers = [await operator.post(f"{PATH}/{result['id']}/retry")]
    sql.execute("insert into refused_messages select * from kept on conflict do nothing; drop table kept")
    answers.append(await operator.post(f"{PATH}/{result['id']}/retry"))
    assert [answer.json()["replayed"] for answer in answers] == [False, True]
    assert len(await events(tenant)) == 1


async def test_a_message_refused_again_stays_with_its_reason(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient, other_tenant: TenantClient
):
    result = await refuse(services, operator, message(tenant.key, body=b"?"))
    path = f"{PATH}/{result['id']}"
    for case in (
        {},
        {"tenant_id": other_tenant.id},
        {"tenant_id": "ten_1"},
        {"idempotency_key": "two words"},
    ):
        assert (await operator.post(f"{path}/retry", json=case)).status_code == 422
    assert (await operator.get(path)).status_code == 200
    nobody = format_id(Prefix.TENANT, new_id())
    unknown = await refuse(services, operator, message(None))
    answer = await operator.post(f"{PATH}/{unknown['id']}/retry", json={"tenant_id": nobody})
    assert answer.status_code == 404


async def test_a_conflict_is_resolved_with_another_key(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    item = message(tenant.key)
    assert await services.amqp_intake.handle_message(item)
    result = await refuse(services, operator, message(tenant.key, "other", message_id=item.message_id))
    assert "used before with another request" in result["reason"]
    path = f"{PATH}/{result['id']}/retry"
    assert (await operator.post(path)).status_code == 409
    assert (await operator.post(path, json={"idempotency_key": "own"})).status_code == 200
    assert len(await events(tenant)) == 2


async def test_oversized_dead_letter_is_truncated_and_cannot_be_retried(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    result = await refuse(services, operator, message(tenant.key, "x" * 2_000_000))
    assert result["size"] > 2_000_000
    read = (await operator.get(f"{PATH}/{result['id']}")).json()
    assert len(base64.b64decode(read["body_base64"])) == 1 << 20
    refused = await operator.post(f"{PATH}/{result['id']}/retry")
    assert refused.status_code == 409
    assert "Only the beginning" in refused.json()["detail"]


async def test_discarded_dead_letter_is_deleted_and_audited(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    result = await refuse(services, operator, message(tenant.key, body=b"?"))
    path = f"{PATH}/{result['id']}"
    assert (await operator.delete(path, params={"reason": "noise"})).status_code == 204
    assert (await operator.delete(path)).status_code == 404
    (entry,) = (await tenant.client.get("/v1/audit", params={"what": "message.discarded"})).json()["items"]
    assert (entry["reason"], entry["details"]["message"]) == ("noise", result["id"])
    assert entry["sentence"].startswith(f"The message {result['id']} was discarded by operator")


async def test_dead_letters_are_listed_page_by_page(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
):
    created = [
        (await refuse(services, operator, message(tenant.key, body=b"%d?" % n)))["id"] for n in range(3)
    ]
    page = (await operator.get(PATH, params={"limit": 2})).json()
    rest = (await operator.get(PATH, params={"limit": 1, "cursor": page["next"]})).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == created[::-1]


async def test_dead_letters_expire_by_their_last_arrival(
    services: Services, operator: httpx.AsyncClient, sql: psycopg.Connection
):
    old, new = [await refuse(services, operator, message(None)) for _ in range(2)]
    sql.execute(
        "update refused_messages set last_at = now() - interval '91 days' where fingerprint = "
        "(select fingerprint from refused_messages order by id desc offset 1 limit 1)"
    )
    await make_maintenance(services.ledger).run_round()
    assert (await operator.get(f"{PATH}/{old['id']}")).status_code == 404
    assert (await operator.get(f"{PATH}/{new['id']}")).status_code == 200
