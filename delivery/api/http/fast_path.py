"""The straight way to the routes that producers use all the time.

They have the same handlers, bounds and errors as on FastAPI's way. That leads through routing, stacks and
models which they do not need and which cost more processor time than accepting an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from delivery.api.http.problems import handle_error
from delivery.domain.errors import Refusal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

_JSON = (b"content-type", b"application/json")


def build_fast_path(handler: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """The route's handler as an application of its own, without what surrounds a route elsewhere."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = FastPathRequest(scope, receive)
        try:
            response = await handler(request)
        except (Refusal, Unavailable, HTTPException) as error:
            response = await handle_error(request, error)
        await response(scope, receive, send)

    return serve


class FastPathRequest(Request):
    """A request whose header is read once, and whose body has mostly come by the time it is asked for."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Read the header."""
        super().__init__(scope, receive)
        self._fields = _IndexedHeaders(scope)

    @property
    def headers(self) -> Headers:
        """The header's fields."""
        return self._fields

    async def body(self) -> bytes:
        """The whole body, once. Raises ClientDisconnect."""
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class _IndexedHeaders(Headers):
    """Header fields by name. Starlette's own looks through all of them whenever it is asked."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        # Of several with one name the first counts, as everywhere else.
        self._values = dict(reversed(self._list))

    def get(self, key: str, default: Any = None, /) -> Any:
        value = self._values.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class JsonBytesResponse(Response):
    """JSON that is ready to be sent; its few header fields are too."""

    def __init__(self, body: bytes, status_code: int, *more: tuple[bytes, bytes]) -> None:
        """`more` are further fields of its header."""
        self.status_code = status_code
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _JSON, *more]
