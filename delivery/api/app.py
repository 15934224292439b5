"""The HTTP API as an application: routes, error handlers and body limits."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from delivery.api.http.cursors import Cursors
from delivery.api.http.fast_path import build_fast_path
from delivery.api.http.middleware import BodyLimitMiddleware, RequestIdMiddleware
from delivery.api.http.openapi import DESCRIPTION, build_openapi
from delivery.api.http.problems import install_error_handlers
from delivery.api.routes import (
    api_keys,
    audit,
    dead_letters,
    deliveries,
    endpoints,
    erasure,
    event_types,
    events,
    exports,
    health,
    portal_links,
    reconcile,
    replays,
    tenants,
    timeline,
)
from delivery.bootstrap import Services
from delivery.domain.errors import Misconfigured

MAX_BODY_BYTES = 262_144


def create_app(services: Services) -> FastAPI:
    """Build the application around these services. Raises Misconfigured without WAYBILL_SECRET_KEYS."""
    secret_keys = services.settings.secret_keys
    if secret_keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; cursors are signed with a key derived from it.")
    app = Application(
        title="Waybill",
        version=version("waybill-engine"),
        description=DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.cursors = Cursors.from_keys(secret_keys.text)
    install_error_handlers(app)
    # Routes are tried in this order, so the busiest come first.
    for module in (
        events,
        deliveries,
        endpoints,
        reconcile,
        timeline,
        replays,
        exports,
        erasure,
        portal_links,
        tenants,
        api_keys,
        event_types,
        dead_letters,
        audit,
        health,
    ):
        app.include_router(module.router)
    limits = services.intake.limits
    paths = {"/v1/events": limits.event_bytes, "/v1/events/batch": limits.batch_bytes}
    app.add_middleware(BodyLimitMiddleware, limits=paths, default_limit=MAX_BODY_BYTES)
    app.add_middleware(RequestIdMiddleware)
    for path, accept in (("/v1/events", events.accept_event), ("/v1/events/batch", events.accept_batch)):
        bounded = BodyLimitMiddleware(build_fast_path(accept), limits=paths, default_limit=MAX_BODY_BYTES)
        app.fast_path["POST", path] = RequestIdMiddleware(bounded)
    return app


class Application(FastAPI):
    """FastAPI, with a fast path to the intake routes."""

    fast_path: dict[tuple[str, str], ASGIApp]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fast_path = {}

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the parts that FastAPI cannot infer."""
        return build_openapi(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http" and not scope["query_string"]:
            handler = self.fast_path.get((scope["method"], scope["path"]))
            if handler is not None:
                scope["app"] = self
                await handler(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
