"""The console's ASGI application: routes, static files and error handling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from delivery.console.pages import ROUTES
from delivery.console.web import assets
from delivery.console.web.context import ROOT
from delivery.console.web.middleware import add_security_headers, render_error
from delivery.domain.errors import Refusal, Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from delivery.bootstrap import Services


def create_console(services: Services) -> ASGIApp:
    """Create the console application with these services."""
    app = Starlette(
        routes=[
            Route("/", _redirect_to_console),
            Route(f"{ROOT}/static/{{name}}", assets.serve_asset),
            *ROUTES,
        ],
        exception_handlers=dict.fromkeys((Refusal, Unavailable, HTTPException, Exception), render_error),
    )
    app.state.services = services
    app.router.redirect_slashes = False
    return add_security_headers(app)


async def _redirect_to_console(_request: Request) -> RedirectResponse:
    return RedirectResponse(ROOT, 307)
