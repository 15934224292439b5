"""Security headers for every response, and error pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from delivery.console.web.rendering import render_template
from delivery.domain.errors import (
    Conflict,
    Invalid,
    MalformedId,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refusal,
    TooLarge,
    TooManyTries,
    Unavailable,
)
from delivery.log import get_logger
from delivery.services.sentences import format_sentence

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = get_logger()

SIGN_IN_PATH: Final = "/console/sign-in"

# Our own files only and nothing inline, so that text from tenants and receivers never runs as a script.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers hide where our own forms come from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
HTMX_HEADER: Final = "HX-Request"


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """The content of an error page."""

    status: int
    title: str
    detail: str


def add_security_headers(app: ASGIApp) -> ASGIApp:
    """Add the security headers to every response."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve


async def render_error(request: Request, error: Exception) -> Response:
    """Render an expected or unexpected error as a page."""
    if isinstance(error, NotAuthenticated):
        return _redirect_to_sign_in(request)
    problem = describe_error(error)
    if isinstance(error, Unavailable):
        log.warning("console.unavailable", path=request.url.path, why=str(error))
    headers = _build_retry_headers(error)
    if HTMX_HEADER in request.headers:
        # htmx asked for a part of a page: show the error in the notice area and leave the rest.
        headers |= {"HX-Retarget": "#notice", "HX-Reselect": "#problem", "HX-Reswap": "innerHTML"}
    page = render_template(
        "problem.html", problem=problem, request_id=request.scope.get("waybill.request_id", "")
    )
    return Response(page, problem.status, headers=headers, media_type="text/html; charset=utf-8")


def describe_error(error: Exception) -> ErrorPage:
    """Describe an error for the user."""
    match error:
        case Refusal():
            status, title = _REFUSAL_STATUSES.get(type(error), (400, "This cannot be done"))
            return ErrorPage(status, title, _format_refusal(error))
        case Unavailable():
            detail = "The database does not answer. No data is lost; try again in a moment."
            return ErrorPage(503, "The database does not answer", detail)
        case HTTPException(status_code=404):
            return ErrorPage(404, "Page not found", "The link may be outdated or incomplete.")
        case HTTPException():
            return ErrorPage(error.status_code, "This cannot be served", str(error.detail))
        case _:
            return ErrorPage(
                500, "Something went wrong on our side", "It was logged with the request id below."
            )


_REFUSAL_STATUSES: Final = {
    Invalid: (422, "Invalid input"),
    NotFound: (404, "Not found"),
    MalformedId: (404, "Not found"),
    NotAllowed: (403, "Not allowed"),
    Conflict: (409, "This cannot be done now"),
    TooManyTries: (429, "Too many attempts"),
    TooLarge: (413, "Too large"),
}


def _format_refusal(error: Refusal) -> str:
    match error:
        case NotFound() | MalformedId():
            return f"{format_sentence(str(error))} Or you do not have access to it."
        case _:
            return format_sentence(str(error))


def _redirect_to_sign_in(request: Request) -> Response:
    """Redirect to the sign-in page, which leads back to the requested page."""
    url = SIGN_IN_PATH
    if request.method == "GET" and HTMX_HEADER not in request.headers and request.url.path != "/console":
        requested = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        url += f"?next={quote(requested, safe='')}"
    if HTMX_HEADER in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": url})
    return RedirectResponse(url, 303)


def _build_retry_headers(error: Exception) -> dict[str, str]:
    match error:
        case TooManyTries():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after.total_seconds())))}
        case Unavailable():
            return {"Retry-After": "1"}
        case HTTPException(headers=headers) if headers:
            return dict(headers)
        case _:
            return {}
