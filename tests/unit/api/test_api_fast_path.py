from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import ClientDisconnect, Request

from delivery.api.http.fast_path import FastPathRequest, JsonBytesResponse, build_fast_path
from delivery.domain.errors import Invalid

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope

HEADER = [
    (b"host", b"one"),
    (b"waybill-tenant", b"first"),
    (b"waybill-tenant", b"second"),
    (b"x-name", "Käse".encode("latin-1")),
]


def scope() -> Scope:
    return {"type": "http", "method": "POST", "path": "/", "headers": list(HEADER)}


def coming(*messages: Message) -> Receive:
    """Yield these messages one after another, then a disconnect."""
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    return receive


@pytest.mark.parametrize("name", ["Host", "HOST", "Waybill-Tenant", "x-name", "X-Nobody"])
def test_headers_are_read_as_starlette_reads_them(name: str) -> None:
    usual, quick = Request(scope()).headers, FastPathRequest(scope(), coming()).headers
    assert quick.get(name) == usual.get(name)
    assert quick.get(name, "else") == usual.get(name, "else")
    assert (name in quick) == (name in usual)


async def test_a_chunked_body_is_joined() -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"12", "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b"34"},
    ]
    assert await FastPathRequest(scope(), coming(*parts)).body() == b"1234"
    assert await FastPathRequest(scope(), coming({"type": "http.request"})).body() == b""


async def test_a_disconnect_during_the_body_raises() -> None:
    part = {"type": "http.request", "body": b"12", "more_body": True}
    with pytest.raises(ClientDisconnect):
        await FastPathRequest(scope(), coming(part)).body()


async def test_responses_are_unchanged_and_refusals_become_problems() -> None:
    async def accept(request: Request) -> Response:
        if request.headers.get("host") == "one":
            return JsonBytesResponse(b"{}", 202, (b"idempotency-replayed", b"true"))
        raise Invalid("host", "must be one")

    assert await _answer(accept, scope()) == [
        {
            "type": "http.response.start",
            "status": 202,
            "headers": [
                (b"content-length", b"2"),
                (b"content-type", b"application/json"),
                (b"idempotency-replayed", b"true"),
            ],
        },
        {"type": "http.response.body", "body": b"{}"},
    ]
    start, _ = await _answer(accept, {**scope(), "headers": []})
    assert start["status"] == 422
    assert (b"content-type", b"application/problem+json") in start["headers"]


async def _answer(route: Any, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await build_fast_path(route)(scope, coming(), send)
    return sent
