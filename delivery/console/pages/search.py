"""The box at the top: from an id, or an idempotency key, to the page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.visits import get
from delivery.errors import MalformedId
from delivery.model import Prefix, parse_id

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Visit

_PLACES: Final = {
    Prefix.DELIVERY: "/deliveries",
    Prefix.EVENT: "/events",
    Prefix.ATTEMPT: "/attempts",
    Prefix.ENDPOINT: "/endpoints",
    Prefix.REPLAY: "/replays",
    Prefix.TENANT: "/tenants",
    Prefix.PERSON: "/people",
}


async def find(visit: Visit) -> Response:
    """Go to what was asked for."""
    asked = visit.query.text("q")
    if not asked:
        return visit.go("/deliveries")
    for prefix, place in _PLACES.items():
        if asked.startswith(f"{prefix}_"):
            try:
                parse_id(prefix, asked)
            except MalformedId:
                break
            return visit.go(f"{place}/{asked}")
    return visit.go("/deliveries", idempotency_key=asked)


ROUTES: Final = [get("/find", find)]
