"""The HTTP API: every route on its path, problems for errors, a bound around everything."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from delivery.api import (
    audit,
    deliveries,
    endpoints,
    erasure,
    event_types,
    events,
    exports,
    health,
    ingest,
    keys,
    portal_links,
    reconcile,
    replays,
    tenants,
    traces,
)
from delivery.api.cursors import Cursors
from delivery.api.middleware import Answered, BoundedBodies
from delivery.api.openapi import DESCRIPTION, document
from delivery.api.problems import answer_problems
from delivery.api.straight import straight
from delivery.bootstrap import Services
from delivery.errors import Misconfigured

MOST_BYTES = 262_144


def create_app(services: Services) -> FastAPI:
    """Build the application around these use cases. Raises Misconfigured without WAYBILL_SECRET_KEYS."""
    secret_keys = services.settings.secret_keys
    if secret_keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; cursors are signed with a key derived from it.")
    app = Application(
        title="Waybill",
        version=version("waybill"),
        description=DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.cursors = Cursors.from_keys(secret_keys.get_secret_value())
    answer_problems(app)
    # Routes are tried in this order, so the busiest come first.
    for module in (
        events,
        deliveries,
        endpoints,
        reconcile,
        traces,
        replays,
        exports,
        erasure,
        portal_links,
        tenants,
        keys,
        event_types,
        ingest,
        audit,
        health,
    ):
        app.include_router(module.router)
    limits = services.accepter.limits
    paths = {"/v1/events": limits.event_bytes, "/v1/events/batch": limits.batch_bytes}
    app.add_middleware(BoundedBodies, limits=paths, otherwise=MOST_BYTES)
    app.add_middleware(Answered)
    for path, accept in (("/v1/events", events.accept_event), ("/v1/events/batch", events.accept_batch)):
        bounded = BoundedBodies(straight(accept), limits=paths, otherwise=MOST_BYTES)
        app.straight["POST", path] = Answered(bounded)
    return app


class Application(FastAPI):
    """FastAPI, with a straight way to the routes that producers use all the time."""

    straight: dict[tuple[str, str], ASGIApp]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.straight = {}

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with what FastAPI cannot know."""
        return document(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's beginning and end."""
        if scope["type"] == "http" and not scope["query_string"]:
            served = self.straight.get((scope["method"], scope["path"]))
            if served is not None:
                scope["app"] = self
                await served(scope, receive, send)
                return
        await super().__call__(scope, receive, send)
