"""Sign in with e-mail and password, open a portal link, and sign out.

Whatever proves who somebody is ends in `_enter`: another proof needs a route of its own, and no other page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from delivery.console.web.context import (
    ROOT,
    build_path,
    get_client_address,
    is_https,
    make_post_route,
    read_form,
    reject_cross_site,
    session_cookie_name,
)
from delivery.console.web.middleware import SIGN_IN_PATH
from delivery.console.web.rendering import render_template
from delivery.domain.errors import NotAuthenticated, TooManyTries
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from delivery.bootstrap import Services
    from delivery.console.web.context import RequestContext
    from delivery.services.accounts.roles import Principal

_BAD_CREDENTIALS: Final = "Wrong e-mail address or password."


async def show_sign_in(request: Request) -> Response:
    """Show the sign-in form; a signed-in user is redirected."""
    services: Services = request.app.state.services
    next_url = _sanitize_next(request.query_params.get("next", ""))
    try:
        await services.accounts.load_principal(
            request.cookies.get(session_cookie_name(request), ""), address=get_client_address(request)
        )
    except NotAuthenticated:
        return _render_form(next_url)
    return RedirectResponse(next_url, 303)


async def sign_in(request: Request) -> Response:
    """Check e-mail and password; the error does not say which of them is wrong."""
    reject_cross_site(request)
    services: Services = request.app.state.services
    form = await read_form(request)
    next_url, email = _sanitize_next(form.get_text("next")), form.get_text("email")
    try:
        token, principal = await services.accounts.sign_in(
            email, form.get_raw("password"), address=get_client_address(request)
        )
    except NotAuthenticated:
        return _render_form(next_url, email=email, error=_BAD_CREDENTIALS, status=401)
    except TooManyTries as error:
        return _render_form(next_url, email=email, error=str(error), status=429)
    return _start_session(request, token, principal, next_url)


async def show_link(_request: Request) -> Response:
    """Ask before opening a link, so that mail scanners that fetch links open no session."""
    return HTMLResponse(render_template("link.html"))


async def open_link(request: Request) -> Response:
    """Open a session for the tenant whose API key created this link."""
    reject_cross_site(request)
    services: Services = request.app.state.services
    try:
        token, principal = await services.accounts.open_link(
            request.path_params["token"], address=get_client_address(request)
        )
    except NotAuthenticated:
        return HTMLResponse(render_template("link_ended.html"), 401)
    return _start_session(request, token, principal, ROOT)


async def sign_out(ctx: RequestContext) -> Response:
    """End the session and delete its cookie."""
    await ctx.services.accounts.sign_out(ctx.session_token)
    response = RedirectResponse(SIGN_IN_PATH, 303)
    name = session_cookie_name(ctx.request)
    response.delete_cookie(name, path=_get_cookie_path(name), secure=is_https(ctx.request), httponly=True)
    return response


def _start_session(request: Request, token: str, principal: Principal, next_url: str) -> Response:
    response = RedirectResponse(next_url, 303)
    name = session_cookie_name(request)
    response.set_cookie(
        name,
        token,
        expires=principal.expires_at,
        path=_get_cookie_path(name),
        secure=is_https(request),
        httponly=True,
        samesite="lax",  # a link from a chat leads in; a form from elsewhere does not
    )
    return response


def _get_cookie_path(name: str) -> str:
    """The cookie's path; the prefix `__Host-` requires `/`."""
    return "/" if name.startswith("__Host-") else ROOT


def _sanitize_next(requested: str) -> str:
    """Return the requested path if it is inside the console, else the overview."""
    inside = (
        requested.startswith((f"{ROOT}/", f"{ROOT}?")) and "\\" not in requested and "//" not in requested
    )
    return requested if inside and requested.isprintable() else ROOT


def _render_form(next_url: str, *, email: str = "", error: str = "", status: int = 200) -> Response:
    return HTMLResponse(render_template("sign_in.html", next_url=next_url, email=email, error=error), status)


ROUTES: Final = [
    Route(SIGN_IN_PATH, show_sign_in, methods=["GET"]),
    Route(SIGN_IN_PATH, sign_in, methods=["POST"]),
    Route(build_path("/portal/{token}"), show_link, methods=["GET"]),
    Route(build_path("/portal/{token}"), open_link, methods=["POST"]),
    make_post_route("/sign-out", sign_out, Ability.SEE),
]
