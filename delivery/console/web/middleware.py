"""What surrounds every answer: headers that hold hostile content off, and a page for whatever went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from delivery.console.rendering import render
from delivery.errors import (
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
from delivery.tracing.sentences import sentence

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

SIGN_IN: Final = "/console/sign-in"

# Our own files only, and nothing inline: what a tenant or a receiver wrote is shown, and never run.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, browsers hide where our own forms come from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
HTMX: Final = "HX-Request"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, as a page says it."""

    status: int
    title: str
    detail: str


def with_headers(app: ASGIApp) -> ASGIApp:
    """Have every answer carry our headers."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer an error of ours, or one that nobody foresaw, with a page."""
    if isinstance(error, NotAuthenticated):
        return _to_sign_in(request)
    problem = problem_of(error)
    if isinstance(error, Unavailable):
        log.warning("console.unavailable", path=request.url.path, why=str(error))
    headers = _retry_after(error)
    if HTMX in request.headers:
        # A part of a page was asked for: say it in the page's own place for that, and leave the rest.
        headers |= {"HX-Retarget": "#notice", "HX-Reselect": "#problem", "HX-Reswap": "innerHTML"}
    page = render("problem.html", problem=problem, request_id=request.scope.get("waybill.request_id", ""))
    return Response(page, problem.status, headers=headers, media_type="text/html; charset=utf-8")


def problem_of(error: Exception) -> Problem:
    """Say what an error means to the person who meets it."""
    match error:
        case Refusal():
            status, title = _REFUSALS.get(type(error), (400, "This cannot be done"))
            return Problem(status, title, _sentence(error))
        case Unavailable():
            detail = "The ledger does not answer just now. Nothing is lost; look again in a moment."
            return Problem(503, "The ledger does not answer", detail)
        case HTTPException(status_code=404):
            return Problem(404, "There is no such page", "The link may be old, or have lost a part.")
        case HTTPException():
            return Problem(error.status_code, "This cannot be served", str(error.detail))
        case _:
            return Problem(500, "Something went wrong on our side", "It is logged under the id below.")


_REFUSALS: Final = {
    Invalid: (422, "That cannot be taken as it is"),
    NotFound: (404, "There is no such thing"),
    MalformedId: (404, "There is no such thing"),
    NotAllowed: (403, "You may not do this"),
    Conflict: (409, "This cannot be done now"),
    TooManyTries: (429, "Too many tries"),
    TooLarge: (413, "That is too large"),
}


def _sentence(error: Refusal) -> str:
    match error:
        case NotFound() | MalformedId():
            return f"{sentence(str(error))} Or it is not yours to see."
        case _:
            return sentence(str(error))


def _to_sign_in(request: Request) -> Response:
    """Who is not signed in goes there, and comes back to what they asked for."""
    there = SIGN_IN
    if request.method == "GET" and HTMX not in request.headers and request.url.path != "/console":
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        there += f"?next={quote(asked, safe='')}"
    if HTMX in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": there})
    return RedirectResponse(there, 303)


def _retry_after(error: Exception) -> dict[str, str]:
    match error:
        case TooManyTries():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after.total_seconds())))}
        case Unavailable():
            return {"Retry-After": "1"}
        case HTTPException(headers=headers) if headers:
            return dict(headers)
        case _:
            return {}
