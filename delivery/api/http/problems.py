"""Turn errors into problems (RFC 9457), and problems into responses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from delivery.domain.errors import (
    Conflict,
    Invalid,
    MalformedId,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refusal,
    ScopeMissing,
    TooLarge,
    TooManyRequests,
    TooManyTries,
    Unavailable,
)
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Scope

log = get_logger()

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "waybill.request_id"
# In a request's scope: headers that its response gets, successful or not.
EXTRA_HEADERS = "waybill.more_headers"
RETRY_AFTER_SECONDS = 1

_TITLES = {
    400: ("bad-request", "The request cannot be read"),
    401: ("not-authenticated", "A valid API key is needed"),
    403: ("not-allowed", "This key may not do this"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "The method is not allowed"),
    409: ("conflict", "The request conflicts with the current state"),
    413: ("too-large", "The request is too large"),
    415: ("unsupported-media-type", "The body is not JSON"),
    422: ("invalid", "The request is not valid"),
    429: ("too-many-tries", "Too many failed attempts"),
    431: ("too-large", "The request is too large"),
    500: ("internal", "Something went wrong on our side"),
    503: ("unavailable", "The service is temporarily unavailable"),
}

_TOO_MANY_REQUESTS = ("too-many-requests", "The key has exceeded its rate limit")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: status, sentence, and invalid fields. `kind` None: the status's usual type and title."""

    status: int
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: tuple[str, str] | None = None


_STATUSES: Mapping[type[Refusal], int] = {
    NotAllowed: 403,
    NotFound: 404,
    MalformedId: 404,
    Conflict: 409,
    TooLarge: 413,
}
INTERNAL_PROBLEM = Problem(500, "The request failed. It is logged under its request_id.")


def to_problem(error: Exception) -> Problem:
    """Map an error to a problem; errors that callers must not see become INTERNAL_PROBLEM."""
    match error:
        case Refusal():
            return _map_refusal(error)
        case RequestValidationError():
            fields = [_describe_fault(fault) for fault in error.errors()]
            return Problem(422, f"{fields[0]['field']}: {fields[0]['why']}", fields)
        case HTTPException():
            return _map_http_exception(error)
        case Unavailable():
            detail = "The database does not answer, or too many requests are waiting. Try again in a moment."
            return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case _:
            return INTERNAL_PROBLEM


def _map_refusal(error: Refusal) -> Problem:
    match error:
        case Invalid():
            return Problem(422, str(error), [{"field": error.field, "why": error.why}])
        case TooManyTries():
            return Problem(429, str(error), headers=_retry_after_headers(error.retry_after))
        case TooManyRequests():
            return Problem(
                429, str(error), headers=_retry_after_headers(error.retry_after), kind=_TOO_MANY_REQUESTS
            )
        case ScopeMissing():
            # RFC 6750, section 3.1.
            needed = f'Bearer realm="waybill", error="insufficient_scope", scope="{" ".join(error.needed)}"'
            return Problem(403, str(error), headers={"WWW-Authenticate": needed})
        case NotAuthenticated():
            detail = "Send a known key: Authorization: Bearer …"
            return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="waybill"'})
        case _:
            return Problem(_STATUSES.get(type(error), 400), str(error))


def _retry_after_headers(duration: timedelta) -> dict[str, str]:
    """Whole seconds, rounded up."""
    return {"Retry-After": str(max(1, -(-duration // timedelta(seconds=1))))}


def _map_http_exception(error: HTTPException) -> Problem:
    """Errors of Starlette and FastAPI: unknown route, unknown method, unreadable body."""
    details = {404: "There is nothing at this path.", 405: "This path does not support this method."}
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers or {})


def _describe_fault(fault: Mapping[str, Any]) -> dict[str, str]:
    where, *path = fault["loc"]
    if fault["type"] == "json_invalid":
        return {"field": "body", "why": f"is not JSON: {fault['ctx']['error']} at character {path[0]}"}
    # Pydantic's own sentences; they never repeat the input.
    return {
        "field": ".".join(map(str, path)) or str(where),
        "why": fault["msg"].removeprefix("Value error, "),
    }


def render_problem(problem: Problem, scope: Scope) -> Response:
    """Render a problem as a response."""
    known = problem.kind or _TITLES.get(problem.status)
    kind, title = known or ("http", HTTPStatus(problem.status).phrase)
    body = {
        "type": f"/problems/{kind}",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"/requests/{scope.get(REQUEST_ID, '')}",
        "request_id": scope.get(REQUEST_ID, ""),
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    # ASCII only, so that any quoted text can be encoded.
    content = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    return Response(content, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


async def handle_error(request: Request, error: Exception) -> Response:
    """Respond to an error of ours or of the framework."""
    if isinstance(error, Unavailable):
        log.warning("request.unavailable", request_id=request.scope.get(REQUEST_ID), why=str(error))
    return render_problem(to_problem(error), request.scope)


def install_error_handlers(app: FastAPI) -> None:
    """Register problem responses for our errors and the framework's."""
    for kind in (Refusal, Unavailable, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle_error)
