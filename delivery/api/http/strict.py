"""Strict request parsing for every route: no unknown query parameters, and only JSON in bodies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from delivery.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from fastapi.dependencies.models import Dependant
    from starlette.responses import Response


class StrictRequest(Request):
    """A request whose JSON must conform to RFC 8259."""

    async def json(self) -> Any:
        """Parse the body. Raises JSONDecodeError, also for NaN, deep nesting and huge numbers."""
        body = await self.body()
        try:
            # Decoded here: json.loads would guess at UTF-16 and UTF-32 too.
            return json.loads(body.decode(), parse_constant=_refuse_constant)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise json.JSONDecodeError("nested too deeply", "", 0) from None
        except ValueError as error:  # NaN and the like, or an integer of thousands of digits
            why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "an invalid or too long number"
            raise json.JSONDecodeError(why, "", 0) from None


class StrictRoute(APIRoute):
    """A route that refuses unknown query parameters and bodies that are not JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()
        known = set(_list_query_names(self.dependant))
        takes_json = self.body_field is not None

        async def strictly(request: Request) -> Response:
            if request.scope["query_string"]:
                _refuse_unknown(request, known)
            if takes_json:
                require_json(request)
                request = StrictRequest(request.scope, request.receive)
            return await handle(request)

        return strictly


def _list_query_names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for below in dependant.dependencies:
        yield from _list_query_names(below)


def require_json(request: Request) -> None:
    """Raise 415 for a body that is not declared as JSON, or that is compressed. A missing body passes."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise HTTPException(415, "Send the body uncompressed, without a Content-Encoding.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        return
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return
    raise HTTPException(415, "Send JSON, with Content-Type: application/json.")


def _refuse_unknown(request: Request, known: set[str]) -> None:
    for name in request.query_params:
        if name not in known:
            hint = f"Known: {', '.join(sorted(known))}." if known else "This path takes none."
            raise Invalid(name, f"is not a query parameter of this path. {hint}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
