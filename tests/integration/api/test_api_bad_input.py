"""Bad input is refused with the name of the field, and nothing is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "https://shop.example/in"
JSON = {"Content-Type": "application/json"}


def check_problem(answer: httpx.Response, status: int, field: str | None = None) -> None:
    """Check the common form of refusals."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"].startswith("/problems/")
    assert problem["request_id"] == answer.headers["x-request-id"]
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]]
        assert all(error["why"] for error in problem["errors"])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/in",
        "/in",
        "https://",
        "https:///in",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://shop.example/",
        "https://user:password@shop.example/",
        "https://user@shop.example/",
        "https://@shop.example/",
        "https://shop.example/#fragment",
        "https://shop.example/#",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop example/",
        "https://shop.example/a b",
        "https://shop.example/\r\nHost: x",
        "https://shop.example/\0",
        "https://\ud800.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://" + "a" * 3000 + ".example/",
    ],
    ids=range(26),
)
async def test_a_bad_url_is_refused(tenant: TenantClient, url: str):
    check_problem(await tenant.post("/v1/endpoints", {"url": url}), 422, "url")
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A\r\nX-B", "x"),
        ("X-A\0", "x"),
        ("X A", "x"),
        ("", "x"),
        ("X-A:", "x"),
        ("X-Ä", "x"),
        ("X-A", "x\r\nX-B: y"),
        ("X-A", "x\0"),
        ("X-A", "ä"),
        ("X-A", " x"),
        ("webhook-id", "x"),
        ("Webhook-Signature", "x"),
        ("webhook-anything", "x"),
        ("Host", "x"),
        ("content-length", "1"),
        ("Content-Type", "text/plain"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("User-Agent", "x"),
        ("Proxy-Authorization", "x"),
        ("ce-id", "x"),
    ],
)
async def test_a_bad_or_reserved_header_is_refused(tenant: TenantClient, name: str, value: str):
    refused = await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: value}})
    check_problem(refused, 422)
    assert refused.json()["errors"][0]["field"].startswith("headers")
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": 7}, "url"),
        ({"url": None}, "url"),
        ({"url": [URL]}, "url"),
        ({"unknown": 1}, "unknown"),
        ({"description": "a\0b"}, "description"),
        ({"description": "x" * 1001}, "description"),
        ({"description": "\udfff"}, "description"),
        ({"description": 1}, "description"),
        ({"filter": "order.*"}, "filter"),
        ({"filter": []}, "filter"),
        ({"filter": ["ok"] * 101}, "filter"),
        ({"filter": ["order.created", "order*"]}, "filter.1"),
        ({"filter": ["order..created"]}, "filter.0"),
        ({"filter": ["*.created"]}, "filter.0"),
        ({"filter": ["order.created\n"]}, "filter.0"),
        ({"filter": ["\0"]}, "filter.0"),
        ({"filter": [1]}, "filter.0"),
        ({"headers": ["x"]}, "headers"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"headers": {"X-A": None}}, "headers.X-A"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers.x-a"),
        ({"headers": {f"X-{n}": "1" for n in range(21)}}, "headers"),
        ({"signature": "v2"}, "signature"),
        ({"signature": None}, "signature"),
        ({"schedule": []}, "schedule"),
        ({"schedule": [5]}, "schedule"),
        ({"schedule": [0, -1]}, "schedule"),
        ({"schedule": [0, 1e9]}, "schedule"),
        ({"schedule": [0] * 31}, "schedule"),
        ({"schedule": [0, "5"]}, "schedule.1"),
        ({"schedule": [0, True]}, "schedule.1"),
        ({"schedule": 5}, "schedule"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": 30.1}, "timeout_seconds"),
        ({"timeout_seconds": "10"}, "timeout_seconds"),
        ({"timeout_seconds": 10**400}, "timeout_seconds"),
        ({"secret": "whsec_"}, "secret"),
        ({"secret": "whsk_AAAA"}, "secret"),
        ({"secret": "hunter2"}, "secret"),
        ({"secret": 1}, "secret"),
        ({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "signature": "v1a"}, "secret"),
    ],
    ids=range(42),
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    tenant: TenantClient, changed: dict[str, object], field: str
):
    check_problem(await tenant.post("/v1/endpoints", {"url": URL, **changed}), 422, field)
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{'url': 1}",
        b'{"url": NaN}',
        b'{"url": "https://a.example", "timeout_seconds": 1e400}',
        b'{"url": "https://a.example", "timeout_seconds": 1' + b"0" * 5000 + b"}",
        b'{"url": "\xff"}',
        b'{"url": "https://a.example", "description": "\\ud800"}',
        b'{"url": "https://a.example",}',
        b"[" * 50_000,
        b'{"a":' * 20_000,
        '{"url": "https://a.example"}'.encode("utf-16"),
    ],
    ids=range(15),
)
async def test_malformed_json_is_refused(tenant: TenantClient, raw: bytes):
    check_problem(await tenant.client.post("/v1/endpoints", content=raw, headers=JSON), 422)
    check_problem(await tenant.client.post("/v1/events", content=raw, headers=JSON), 422)
    check_problem(await tenant.client.post("/v1/events/batch", content=raw, headers=JSON), 422)
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"type": "order created", "data": 1}, "type"),
        ({"type": "order-created", "data": 1}, "type"),
        ({"type": "", "data": 1}, "type"),
        ({"type": ".", "data": 1}, "type"),
        ({"type": "a.", "data": 1}, "type"),
        ({"type": "ä", "data": 1}, "type"),
        ({"type": "a\0", "data": 1}, "type"),
        ({"type": "a\n", "data": 1}, "type"),
        ({"type": "a" * 129, "data": 1}, "type"),
        ({"type": 1, "data": 1}, "type"),
        ({"type": "a", "data": 1, "id": "x"}, "id"),
        ({"type": "a"}, "data"),
        ({"data": 1}, "type"),
        ([1], "body"),
    ],
)
async def test_a_bad_event_is_refused_alone_and_in_a_batch(tenant: TenantClient, event: object, field: str):
    check_problem(await tenant.client.post("/v1/events", json=event), 422, field)
    batch = {"events": [{"type": "good", "data": 1}, event]}
    refused = await tenant.client.post("/v1/events/batch", json=batch)
    check_problem(refused, 422)
    assert refused.json()["errors"][0]["field"].startswith("events.1")
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


@pytest.mark.parametrize("body", [{"events": []}, {}, {"events": 1}, {"events": [], "more": 1}])
async def test_a_bad_batch_is_refused(tenant: TenantClient, body: object):
    check_problem(await tenant.client.post("/v1/events/batch", json=body), 422)


async def test_a_batch_with_too_many_events_is_refused(tenant: TenantClient):
    batch = {"events": [{"type": "a", "data": n} for n in range(1001)]}
    check_problem(await tenant.client.post("/v1/events/batch", json=batch), 413)
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


async def test_an_event_may_be_as_large_as_the_limit_and_no_larger(tenant: TenantClient):
    shell = len(json.dumps({"type": "a", "data": ""}, separators=(",", ":")))
    fits = {"type": "a", "data": "x" * (262_144 - shell)}
    assert (await tenant.client.post("/v1/events", json=fits)).status_code == 202
    refused = await tenant.client.post("/v1/events", json={"type": "a", "data": "x" * (262_145 - shell)})
    check_problem(refused, 413)
    assert "262,144" in refused.json()["detail"]


async def test_a_large_event_in_a_batch_is_refused(tenant: TenantClient):
    batch = {"events": [{"type": "a", "data": "x" * 262_144}]}
    check_problem(await tenant.client.post("/v1/events/batch", json=batch), 413)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/endpoints", "/v1/deliveries", "/nowhere"])
async def test_a_body_without_a_content_length_is_limited_too(tenant: TenantClient, path: str):
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 10_000
            yield b" " * 10_000

    refused = await tenant.client.post(path, content=endless(), headers=JSON)
    if path in {"/v1/events", "/v1/endpoints"}:  # the others do not read bodies at all
        check_problem(refused, 413)
        assert refused.headers["connection"] == "close"
    assert taken < 400_000 or path not in {"/v1/events", "/v1/endpoints"}


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data", ""],
)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch", "/v1/endpoints"])
async def test_a_body_not_declared_as_json_is_refused(tenant: TenantClient, path: str, media_type: str):
    refused = await tenant.client.post(path, content=b"{}", headers={"Content-Type": media_type})
    check_problem(refused, 415)


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
async def test_several_json_media_types_are_accepted(tenant: TenantClient, media_type: str):
    sent = await tenant.client.post(
        "/v1/events", content=b'{"type":"a","data":1}', headers={"Content-Type": media_type}
    )
    assert sent.status_code == 202


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/deliveries", {"limit": "0"}, "limit"),
        ("/v1/deliveries", {"limit": "101"}, "limit"),
        ("/v1/deliveries", {"limit": "99999999999999999999"}, "limit"),
        ("/v1/deliveries", {"limit": "ten"}, "limit"),
        ("/v1/deliveries", {"status": "lost"}, "status"),
        ("/v1/deliveries", {"endpoint": "ep_x"}, "endpoint"),
        ("/v1/deliveries", {"endpoint": "evt_01kasw8qbefy09m6sc7n75yr3h"}, "endpoint"),
        ("/v1/deliveries", {"event": "\0"}, "event"),
        ("/v1/deliveries", {"since": "yesterday"}, "since"),
        ("/v1/deliveries", {"since": "2026-01-01T00:00:00"}, "since"),
        ("/v1/deliveries", {"since": "1969-12-31T23:59:59Z"}, "since"),
        ("/v1/deliveries", {"since": "0000-00-00T00:00:00Z"}, "since"),
        ("/v1/deliveries", {"until": "99999-01-01T00:00:00Z"}, "until"),
        ("/v1/deliveries", {"until": "1e400"}, "until"),
        ("/v1/deliveries", {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
        ("/v1/deliveries", {"tenant": "ten_x"}, "tenant"),
        ("/v1/deliveries", {"cursor": ""}, "cursor"),
        ("/v1/deliveries", {"cursor": "A" * 40}, "cursor"),
        ("/v1/deliveries", {"cursor": "\0"}, "cursor"),
        ("/v1/events", {"type": "not a type"}, "type"),
        ("/v1/events", {"status": "failed"}, "status"),
        ("/v1/endpoints", {"state": "paused"}, "state"),
        ("/v1/endpoints", {"cursor": "x" * 10_000}, "cursor"),
    ],
)
async def test_a_bad_query_is_refused_by_name(
    tenant: TenantClient, path: str, query: dict[str, str], field: str
):
    check_problem(await tenant.client.get(path, params=query), 422, field)


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00+14:00"]
)
async def test_extreme_timestamps_are_accepted(tenant: TenantClient, moment: str):
    assert (await tenant.client.get("/v1/deliveries", params={"since": moment})).status_code == 200
    assert (await tenant.client.get("/v1/events", params={"until": moment})).status_code == 200


@pytest.mark.parametrize(
    "id_",
    ["x", "ep_", "ep_x", "ep_8zzzzzzzzzzzzzzzzzzzzzzzzz", "evt_01kasw8qbefy09m6sc7n75yr3h", "ep_%00", "🎈"],
)
async def test_a_malformed_id_in_a_path_is_not_found(tenant: TenantClient, id_: str):
    check_problem(await tenant.client.get(f"/v1/endpoints/{id_}"), 404)


@pytest.mark.parametrize("noun", ["events/evt", "deliveries/dlv", "attempts/att", "endpoints/ep"])
@pytest.mark.parametrize("suffix", ["0" * 26, "7" + "z" * 25], ids=["smallest", "largest"])
async def test_extreme_ids_are_looked_up_like_others(tenant: TenantClient, noun: str, suffix: str):
    check_problem(await tenant.client.get(f"/v1/{noun}_{suffix}"), 404)
    events = await tenant.client.get("/v1/deliveries", params={"event": f"evt_{suffix}"})
    assert events.json() == {"items": [], "next": None}


async def test_an_unknown_path_and_an_unknown_method_are_problems_too(
    anonymous: httpx.AsyncClient, tenant: TenantClient
):
    check_problem(await anonymous.get("/nowhere"), 404)
    check_problem(await anonymous.get("/v1/endpoints/"), 404)
    refused = await tenant.client.put("/v1/endpoints", json={})
    check_problem(refused, 405)
    assert refused.headers["allow"]


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a\tb"])
async def test_a_bad_idempotency_key_is_refused(tenant: TenantClient, key: str):
    headers = [(b"Idempotency-Key", key.encode())]
    refused = await tenant.client.post("/v1/events", json={"type": "a", "data": 1}, headers=headers)
    check_problem(refused, 422, "Idempotency-Key")


async def test_unexpected_error_response_contains_only_the_request_id(
    tenant: TenantClient, sql: psycopg.Connection
):
    created = await tenant.create_endpoint(url="https://broken.example/", headers={"X-Token": "0penSesame"})
    sql.execute("update endpoints set sealed_headers = '\\x00' where url = 'https://broken.example/'")
    failed = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={"headers": {"X-B": "1"}})
    check_problem(failed, 500)
    assert "WAYBILL" not in failed.text
    assert "secret" not in failed.text.lower()
