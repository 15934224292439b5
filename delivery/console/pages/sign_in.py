"""The way in and out: with e-mail and password, or by a link that a tenant's key has made.

Whatever proves who somebody is ends in `_enter`: another proof needs a route of its own, and no other page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from delivery.console.answers import SIGN_IN
from delivery.console.rendering import render
from delivery.console.visits import (
    ROOT,
    address_of,
    cookie_name,
    is_secure,
    place,
    post,
    read_form,
    refuse_foreign,
)
from delivery.errors import NotAuthenticated, TooManyTries
from delivery.people import Ability

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from delivery.bootstrap import Services
    from delivery.console.visits import Visit
    from delivery.people import Visitor

_REFUSED: Final = "This e-mail address and this password do not belong together."


async def show(request: Request) -> Response:
    """The form; who is signed in already goes on."""
    uses: Services = request.app.state.services
    there = _next(request.query_params.get("next", ""))
    try:
        await uses.people.visitor(request.cookies.get(cookie_name(request), ""), address=address_of(request))
    except NotAuthenticated:
        return _form(there)
    return RedirectResponse(there, 303)


async def sign_in(request: Request) -> Response:
    """Take e-mail and password; what is wrong with them is not told."""
    refuse_foreign(request)
    uses: Services = request.app.state.services
    form = await read_form(request)
    there, email = _next(form.text("next")), form.text("email")
    try:
        token, visitor = await uses.people.sign_in(email, form.raw("password"), address=address_of(request))
    except NotAuthenticated:
        return _form(there, email=email, fault=_REFUSED, status=401)
    except TooManyTries as error:
        return _form(there, email=email, fault=str(error), status=429)
    return _enter(request, token, visitor, there)


async def show_link(_request: Request) -> Response:
    """Ask before a link is opened: what only looks at links, as mail scanners do, opens no session."""
    return HTMLResponse(render("link.html"))


async def open_link(request: Request) -> Response:
    """Open the console for the tenant whose key has made this link."""
    refuse_foreign(request)
    uses: Services = request.app.state.services
    try:
        token, visitor = await uses.people.open_link(
            request.path_params["token"], address=address_of(request)
        )
    except NotAuthenticated:
        return HTMLResponse(render("link_ended.html"), 401)
    return _enter(request, token, visitor, ROOT)


async def sign_out(visit: Visit) -> Response:
    """End the session, here and in the ledger."""
    await visit.uses.people.sign_out(visit.token)
    response = RedirectResponse(SIGN_IN, 303)
    name = cookie_name(visit.request)
    response.delete_cookie(name, path=_path(name), secure=is_secure(visit.request), httponly=True)
    return response


def _enter(request: Request, token: str, visitor: Visitor, there: str) -> Response:
    response = RedirectResponse(there, 303)
    name = cookie_name(request)
    response.set_cookie(
        name,
        token,
        expires=visitor.expires_at,
        path=_path(name),
        secure=is_secure(request),
        httponly=True,
        samesite="lax",  # a link from a chat leads in; a form from elsewhere does not
    )
    return response


def _path(name: str) -> str:
    """A cookie that is bound to its host must be for all of it."""
    return "/" if name.startswith("__Host-") else ROOT


def _next(asked: str) -> str:
    """Where to go then: a page of ours, whatever the address says."""
    inside = asked.startswith((f"{ROOT}/", f"{ROOT}?")) and "\\" not in asked and "//" not in asked
    return asked if inside and asked.isprintable() else ROOT


def _form(there: str, *, email: str = "", fault: str = "", status: int = 200) -> Response:
    return HTMLResponse(render("sign_in.html", next=there, email=email, fault=fault), status)


ROUTES: Final = [
    Route(SIGN_IN, show, methods=["GET"]),
    Route(SIGN_IN, sign_in, methods=["POST"]),
    Route(place("/portal/{token}"), show_link, methods=["GET"]),
    Route(place("/portal/{token}"), open_link, methods=["POST"]),
    post("/sign-out", sign_out, Ability.SEE),
]
