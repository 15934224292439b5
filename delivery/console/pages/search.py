"""The search box at the top: from an id or an idempotency key to the matching page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.web.context import make_get_route
from delivery.domain.errors import MalformedId
from delivery.domain.ids import Prefix, parse_id

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext

_PATHS: Final = {
    Prefix.DELIVERY: "/deliveries",
    Prefix.EVENT: "/events",
    Prefix.ATTEMPT: "/attempts",
    Prefix.ENDPOINT: "/endpoints",
    Prefix.REPLAY: "/replays",
    Prefix.TENANT: "/tenants",
    Prefix.USER: "/people",
}


async def redirect_to_match(ctx: RequestContext) -> Response:
    """Redirect to the page of the id, or to a search for the idempotency key."""
    query = ctx.query.get_text("q")
    if not query:
        return ctx.redirect("/deliveries")
    for prefix, path in _PATHS.items():
        if query.startswith(f"{prefix}_"):
            try:
                parse_id(prefix, query)
            except MalformedId:
                break
            return ctx.redirect(f"{path}/{query}")
    return ctx.redirect("/deliveries", idempotency_key=query)


ROUTES: Final = [make_get_route("/find", redirect_to_match)]
