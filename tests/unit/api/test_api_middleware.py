from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from delivery.api.http.middleware import BodyLimitMiddleware, RequestIdMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def call(app: ASGIApp, chunks: list[bytes], **headers: str) -> list[Message]:
    """Send a request in chunks and collect the response."""
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/small",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": n < len(chunks)}
        for n, chunk in enumerate(chunks, start=1)
    ]
    sent: list[Message] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and return its length."""
    body = await Request(scope, receive).body()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


bounded = BodyLimitMiddleware(reading, limits={"/small": 10}, default_limit=100)


async def test_a_body_within_the_limit_passes():
    assert (await call(bounded, [b"12345", b"67890"]))[1]["body"] == b"10"
    assert (await call(bounded, [b"1234567890"], content_length="10"))[1]["body"] == b"10"


async def test_a_body_declared_too_large_is_not_read():
    chunks = [b"x" * 11]
    start = (await call(bounded, chunks, content_length="11"))[0]
    assert start["status"] == 413
    assert (b"connection", b"close") in start["headers"]


async def test_an_undeclared_body_is_refused_at_the_limit():
    with pytest.raises(HTTPException) as refused:
        await call(bounded, [b"123456", b"123456", b"never read"])
    assert refused.value.status_code == 413


@pytest.mark.parametrize("length", ["-1", "ten", "1e1", ""])
async def test_an_invalid_content_length_does_not_lift_the_limit(length: str):
    with pytest.raises(HTTPException):
        await call(bounded, [b"x" * 11], content_length=length)


async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Fail before responding."""
    raise RuntimeError("hush")


async def broken_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail in the middle of a response."""
    await reading(scope, receive, send)
    raise RuntimeError("hush")


async def left(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Notice that the client has disconnected."""
    raise ClientDisconnect


async def test_an_unexpected_error_does_not_reveal_its_cause():
    with structlog.testing.capture_logs() as lines:
        start, body = await call(RequestIdMiddleware(broken), [b""])
    assert start["status"] == 500
    assert b"hush" not in body["body"]
    assert dict(start["headers"])[b"x-request-id"].decode() == lines[0]["request_id"]


async def test_a_started_response_is_not_started_again():
    with structlog.testing.capture_logs(), pytest.raises(RuntimeError):
        await call(RequestIdMiddleware(broken_late), [b""])


async def test_a_disconnected_client_is_not_an_error():
    with structlog.testing.capture_logs() as lines:
        assert await call(RequestIdMiddleware(left), [b""]) == []
    assert lines[0]["event"] == "request.disconnected"


async def test_every_request_has_its_own_id():
    first = await call(RequestIdMiddleware(reading), [b""])
    second = await call(RequestIdMiddleware(reading), [b""])
    assert dict(first[0]["headers"])[b"x-request-id"] != dict(second[0]["headers"])[b"x-request-id"]
