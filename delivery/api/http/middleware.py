"""Middleware for every request: a request id, a problem for unexpected errors, and body limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from delivery.api.http.problems import EXTRA_HEADERS, INTERNAL_PROBLEM, REQUEST_ID, render_problem, to_problem
from delivery.domain.errors import TooLarge
from delivery.domain.ids import new_id
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = get_logger()

_NO_STORE = (b"cache-control", b"no-store")


class RequestIdMiddleware:
    """Gives each request an id, which its response carries, and turns unexpected errors into problems."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand around the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = new_id().hex
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                fields = message["headers"]
                # Responses that may be cached set their own Cache-Control.
                if b"cache-control" not in [name for name, _ in fields]:
                    fields += (_NO_STORE,)
                fields += ((b"x-request-id", request_id.encode()), *scope.get(EXTRA_HEADERS, ()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info("request.disconnected", request_id=request_id, path=scope["path"])
        except Exception:
            log.exception("request.failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if started:
                raise
            await render_problem(INTERNAL_PROBLEM, scope)(scope, receive, send_with_id)


class BodyLimitMiddleware:
    """Refuses bodies larger than their path allows, with or without a Content-Length."""

    def __init__(self, app: ASGIApp, *, limits: Mapping[str, int], default_limit: int) -> None:
        """Take the limits in bytes, by path."""
        self._app = app
        self._limits = limits
        self._default_limit = default_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], self._default_limit)
        declared = _declared_length(scope)
        if declared is None:
            await self._app(scope, _limit_received(receive, limit), send)
        elif declared > limit:
            await render_problem(to_problem(_build_too_large(declared, limit)), scope)(scope, receive, send)
        else:  # the server holds the client to the length that it declared
            await self._app(scope, receive, send)


def _declared_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _limit_received(receive: Receive, limit: int) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise _build_too_large(total, limit)
        return message

    return counted


def _build_too_large(size: int, limit: int) -> HTTPException:
    # Closing the connection saves reading the rest of the body.
    return HTTPException(413, str(TooLarge("The body", size=size, limit=limit)), {"Connection": "close"})
