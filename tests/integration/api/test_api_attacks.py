"""Attacks through the API: the SSRF corpus, injection into every text field, malicious payloads."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.test_api_bad_input import JSON, URL, check_problem
from tests.support.ssrf_corpus import CORPUS

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINES = ("\r\nX-Evil: 1", "\n", "\r", "\0", "\t", "\x1b[2J", "\x85", "\u2028", "\u2029", "\x7f", "\ud800")


# ---- destinations
async def test_only_names_of_the_ssrf_corpus_are_accepted(tenant: TenantClient, sql: psycopg.Connection):
    secure = [(attack, attack.url(8443).replace("http:", "https:")) for attack in CORPUS]
    for _, url in [(attack, url) for attack, url in secure if attack.kind != "name"]:
        check_problem(await tenant.post("/v1/endpoints", {"url": url}), 422, "url")
    assert sql.execute("select count(*) from endpoints where url like '%:8443%'").fetchone() == (0,)


async def test_no_endpoint_can_be_changed_to_an_ssrf_destination(tenant: TenantClient):
    created = await tenant.create_endpoint()
    for attack in CORPUS[::10]:
        if attack.kind != "name":
            changed = await tenant.client.patch(
                f"/v1/endpoints/{created['id']}",
                content=json.dumps({"url": attack.url(8443)}),
                headers=JSON,
            )
            check_problem(changed, 422, "url")
    assert (await tenant.client.get(f"/v1/endpoints/{created['id']}")).json()["url"] == created["url"]


# ---- injection
@pytest.mark.parametrize("line", LINES, ids=ascii)
async def test_control_characters_never_reach_the_wire(tenant: TenantClient, line: str):
    for url in (
        f"https://shop.example/{line}",
        f"https://shop.example/?a={line}",
        f"https://shop.example{line}/",
        f"https://{line}shop.example/",
        f"https://shop.example:443{line}/",
        f"{line}https://shop.example/",
        f"https{line}://shop.example/",
    ):
        check_problem(await tenant.post("/v1/endpoints", {"url": url}), 422, "url")
    for name, value in (
        ("X-A", f"a{line}b"),
        ("X-A", f"a{line}"),
        ("X-A", f"{line}a"),
        (f"X-A{line}", "b"),
        (f"{line}X-A", "b"),
        (f"X-A{line}X-B", "b"),
    ):
        check_problem(await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: value}}), 422)
    for type_ in (f"order.created{line}", f"order{line}.created", f"{line}order.created"):
        check_problem(await tenant.post("/v1/events", {"type": type_, "data": 1}), 422)
        check_problem(await tenant.post("/v1/endpoints", {"url": URL, "filter": [type_]}), 422)
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


SMUGGLING = (
    "Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING", "Transfer-Encoding ",
    " Transfer-Encoding", "Transfer-Encoding\t", "Transfer-Encoding\x0b", "Transfer-Encoding:",
    "Transfer Encoding", "Content-Length", "content-length ", "Content-Length\x00", "Content-Length\r",
    "Host", "host", "HOST ", "Connection", "Keep-Alive", "Upgrade", "TE", "Trailer", "Expect",
    "HTTP2-Settings", "Proxy-Connection", "Proxy-Authorization", "Cookie", "Cookie2", "Content-Encoding",
    "Content-Type", "User-Agent", "Accept-Encoding", "webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP",
    "webhook-", ":authority", ":method", ":path", "Transfer-Encoding\u200b", "Transfer\u2010Encoding",
    "\uff28ost", "Host\xa0",
)  # fmt: skip


async def test_framing_headers_cannot_be_set(tenant: TenantClient):
    for name in SMUGGLING:
        refused = await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: "chunked"}})
        check_problem(refused, 422)
        assert refused.json()["errors"][0]["field"].startswith("headers")
    assert (await tenant.client.get("/v1/endpoints")).json()["items"] == []


UNDERSCORED = (
    "Transfer_Encoding", "Content_Length", "content_length", "Webhook_Id", "webhook_signature",
    "X_Webhook_Id", "Content.Length", "Transfer.Encoding",
)  # fmt: skip


async def test_headers_that_gateways_may_confuse_with_ours_cannot_be_set(tenant: TenantClient):
    for name in UNDERSCORED:
        if not name.startswith("X_"):
            refused = await tenant.post("/v1/endpoints", {"url": URL, "headers": {name: "x"}})
            check_problem(refused, 422)
    assert (await tenant.create_endpoint(headers={"X_Webhook_Id": "x"}))["headers"] == {"X_Webhook_Id": "***"}


@pytest.mark.parametrize("line", ["\0", "\ud800", "a\0b"], ids=ascii)
async def test_unstorable_text_is_refused_in_every_field(tenant: TenantClient, line: str):
    created = await tenant.create_endpoint()
    item = f"/v1/endpoints/{created['id']}"
    some, why = {"endpoint": [created["id"]]}, {"reason": "so"}
    for path, body, field in (
        ("/v1/endpoints", {"url": URL, "description": f"a{line}"}, "description"),
        (f"{item}/pause", {"reason": f"a{line}"}, "reason"),
        (f"{item}/disable", {"reason": f"a{line}"}, "reason"),
        ("/v1/replays", {"selection": some, "reason": f"a{line}"}, "reason"),
        (
            "/v1/replays",
            why | {"selection": some | {"idempotency_key": f"a{line}"}},
            "selection.idempotency_key",
        ),
        ("/v1/replays", why | {"selection": some | {"payload": [f"$.a=a{line}"]}}, "selection.payload"),
        ("/v1/replays", why | {"selection": some | {"payload": [f"$['a{line}']=1"]}}, "selection.payload"),
        ("/v1/replays", why | {"selection": some | {"type": [f"a{line}"]}}, "selection.type"),
        ("/v1/replays", why | {"selection": some | {"outcome": [f"a{line}"]}}, "selection.outcome"),
        ("/v1/replays", why | {"selection": some | {"response": [f"5{line}"]}}, "selection.response"),
        ("/v1/portal-links", {"label": f"a{line}"}, "label"),
    ):
        check_problem(await tenant.post(path, body), 422, field)


async def test_a_payload_filter_keeps_escaped_characters(tenant: TenantClient):
    created = await tenant.create_endpoint()
    await tenant.send_event()
    for condition in (
        r'$.a="\u0000"',
        r'$["\u0000"]=1',
        r'$.a="\ud800"',
        r'$["\ud800"]=1',
        "$.a=\x1b[2J",
        "$.\u2028=1",
    ):
        body = {"selection": {"endpoint": [created["id"]], "payload": [condition]}, "reason": "looking"}
        answer = await tenant.post("/v1/replays", body)
        assert answer.status_code in {201, 202, 422}, (condition, answer.text)
        query = {"payload": condition}
        assert (await tenant.client.get("/v1/events", params=query)).status_code in {200, 422}


FILTERS = (
    "type", "status", "outcome", "response", "since", "until", "endpoint", "event", "idempotency_key",
    "payload", "held_by", "attempts_min", "cursor", "limit", "order",
)  # fmt: skip
NONSENSE = (
    "' or 1=1 --", "'; drop table events; --", "\0", "%00", "\r\nX: y", "\u2028", "$", "$[", "$.a",
    "*" * 5_000, "${jndi:ldap://x}", "{{7*7}}", "../../etc/passwd", "\\", "%", "_", "1e400", "-1", "\uff19",
    "NaN", "\ud83d",
)  # fmt: skip


async def test_an_invalid_filter_is_refused_or_finds_nothing(tenant: TenantClient):
    await tenant.create_endpoint()
    await tenant.send_event()
    for path in ("/v1/deliveries", "/v1/events", "/v1/audit"):
        for name in FILTERS:
            for text in NONSENSE:
                query = f"{name}=".encode() + _quoted(text)
                answer = await tenant.client.get(f"{path}?{query.decode()}")
                assert answer.status_code in {200, 422}, (path, name, text, answer.text)
                if answer.status_code == 200:
                    assert answer.json()["items"] == []


def _quoted(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass")).encode()


@pytest.mark.parametrize(
    "key", [b"a\r\nX: y", b"a\nb", b"\0", b"a\x1b[2J", b"\xe2\x80\xa8", b"\xff", b"a\x85"]
)
async def test_control_characters_in_an_idempotency_key_are_refused(tenant: TenantClient, key: bytes):
    headers = [(b"Idempotency-Key", key), (b"Content-Type", b"application/json")]
    refused = await tenant.client.post("/v1/events", content=b'{"type":"a","data":1}', headers=headers)
    check_problem(refused, 422, "Idempotency-Key")


# ---- payloads
REFUSED = {
    "a half of a pair, escaped": rb'"\ud800"',
    "the other half alone": rb'"\udc00"',
    "two halves the wrong way round": rb'"\udc00\ud800"',
    "a half as a key": rb'{"\ud800": 1}',
    "a half in bytes": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "an overlong NUL": b'"\xc0\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "a raw NUL": b'"\0"',
    "a raw line end": b'"\n"',
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "beyond a double": b"1e400",
    "far beyond a double": b"-1e99999999999999999999",
    "five thousand digits": b"9" * 5_000,
    "a leading zero": b"01",
    "a plus": b"+1",
    "no digit behind the point": b"1.",
    "none before it": b".5",
    "hexadecimal": b"0x1",
    "a comment": b"1/**/",
    "a comma too many": b"[1,]",
    "single quotes": b"'a'",
    "nothing": b"",
    "another document behind it": b'1}{"type":"b"',
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "40,000 levels of objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "100,000 levels that do not end": b"[" * 100_000,
}
TAKEN = {
    "doubled keys": b'{"a": 1, "a": 2, "\\u0061": 3}',
    "thirty digits": b"123456789012345678901234567890",
    "four thousand digits": b"9" * 4_000,
    "four thousand places": b"0." + b"3" * 4_000,
    "the smallest number": b"1e-999999999",
    "minus zero": b"-0.0",
    "zero with an exponent": b"0e999999999",
    "an escaped NUL": rb'"\u0000"',
    "a pair, escaped": rb'"\ud83d\ude00"',
    "line separators": b'"\xe2\x80\xa8\xe2\x80\xa9"',
    "a byte order mark in a string": b'"\xef\xbb\xbf"',
    "what scripts would be": b'"</script><!--]]>"',
    "prototypes": b'{"__proto__": {"a": 1}, "constructor": null}',
    "odd white space": b" \r\n\t[ 1 ,\r\n2 ] ",
    "500 levels": b"[" * 500 + b"]" * 500,
    "an empty key": b'{"": ""}',
    "a slash, escaped": rb'"\/\u002f"',
    "a string with JSON in it": rb'"{\"type\":\"b\"}"',
}


@pytest.mark.parametrize("action", REFUSED)
async def test_an_unreadable_payload_is_refused(tenant: TenantClient, action: str):
    item = b'{"type":"a.b","data":' + REFUSED[action] + b"}"
    check_problem(await tenant.client.post("/v1/events", content=item, headers=JSON), 422)
    many = b'{"events":[{"type":"a.b","data":1},' + item + b"]}"
    check_problem(await tenant.client.post("/v1/events/batch", content=many, headers=JSON), 422)
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


@pytest.mark.parametrize("action", TAKEN)
async def test_a_payload_is_delivered_byte_for_byte(
    tenant: TenantClient, sql: psycopg.Connection, action: str
):
    for path, body in (
        ("/v1/events", b'{"type":"a.b","data":' + TAKEN[action] + b"}"),
        ("/v1/events/batch", b'{"events":[{"data":' + TAKEN[action] + b',"type":"a.b"}]}'),
    ):
        sent = await tenant.client.post(path, content=body, headers=JSON)
        assert sent.status_code == 202, sent.text
        result: dict[str, Any] = sent.json()
        response = await tenant.client.get(f"/v1/events/{(result.get('events') or [result])[0]['id']}")
        assert response.status_code == 200
        assert b'"data":' + TAKEN[action].strip() in response.content
        found = sql.execute("select body from events order by id desc limit 1").fetchone()
        assert found is not None
        # White space around a header value is not part of it.
        assert bytes(found[0]).endswith(b'"data":' + TAKEN[action].strip() + b"}")


ENCODED = {
    "nothing": b"",
    "a UTF-8 byte order mark": b'\xef\xbb\xbf{"type":"a","data":1}',
    "UTF-16": '{"type":"a","data":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"type":"a","data":1}'.encode("utf-16-le"),
    "UTF-32": '{"type":"a","data":1}'.encode("utf-32"),
    "gzip that does not say so": gzip.compress(b'{"type":"a","data":1}'),
    "two documents": b'{"type":"a","data":1}{"type":"b","data":2}',
    "something behind it": b'{"type":"a","data":1} x',
    "a NUL behind it": b'{"type":"a","data":1}\0',
    "a form": b"type=a&data=1",
    "XML": b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
}


@pytest.mark.parametrize("action", ENCODED)
async def test_a_body_that_is_not_json_is_refused(tenant: TenantClient, action: str):
    for path in ("/v1/events", "/v1/events/batch", "/v1/endpoints", "/v1/replays"):
        check_problem(await tenant.client.post(path, content=ENCODED[action], headers=JSON), 422)
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused_before_it_is_read(tenant: TenantClient, coding: str):
    bomb = gzip.compress(b'{"type":"a","data":"' + b"0" * 1_000_000 + b'"}')
    for path in ("/v1/events", "/v1/events/batch", "/v1/endpoints"):
        headers = JSON | {"Content-Encoding": coding}
        check_problem(await tenant.client.post(path, content=bomb, headers=headers), 415)


async def test_content_encoding_identity_is_accepted(tenant: TenantClient):
    headers = JSON | {"Content-Encoding": "identity"}
    sent = await tenant.client.post("/v1/events", content=b'{"type":"a","data":1}', headers=headers)
    assert sent.status_code == 202


async def test_duplicate_type_field_is_sent_once_as_matched(tenant: TenantClient, sql: psycopg.Connection):
    await tenant.create_endpoint(filter=["last.one"])
    body = b'{"type":"first.one","data":1,"type":"last.one","data":2}'
    sent = await tenant.client.post("/v1/events", content=body, headers=JSON)
    assert (sent.json()["type"], sent.json()["deliveries"]) == ("last.one", 1)
    found = sql.execute("select type, body from events order by id desc limit 1").fetchone()
    assert found is not None
    assert found[0] == "last.one"
    assert bytes(found[1]).count(b'"type"') == 1
    assert bytes(found[1]).endswith(b'"data":2}')
