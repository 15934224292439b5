"""The HTTP API: every route on its path, problems for errors, a bound around everything."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from delivery.api import deliveries, endpoints, events, health, tenants
from delivery.api.cursors import Cursors
from delivery.api.middleware import Answered, BoundedBodies
from delivery.api.openapi import DESCRIPTION, document
from delivery.api.problems import answer_problems
from delivery.bootstrap import Services
from delivery.errors import Misconfigured

MOST_BYTES = 262_144


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return document(self)


def create_app(services: Services) -> FastAPI:
    """Build the application around these use cases. Raises Misconfigured without WAYBILL_SECRET_KEYS."""
    keys = services.settings.secret_keys
    if keys is None:
        raise Misconfigured("WAYBILL_SECRET_KEYS is not set; cursors are signed with a key derived from it.")
    app = _Api(
        title="Waybill",
        version=version("waybill"),
        description=DESCRIPTION,
        redirect_slashes=False,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.cursors = Cursors.from_keys(keys.get_secret_value())
    answer_problems(app)
    # Routes are tried in this order, so the busiest come first.
    for module in (events, deliveries, endpoints, tenants, health):
        app.include_router(module.router)
    limits = services.accepter.limits
    paths = {"/v1/events": limits.event_bytes, "/v1/events/batch": limits.batch_bytes}
    app.add_middleware(BoundedBodies, limits=paths, otherwise=MOST_BYTES)
    app.add_middleware(Answered)
    return app
