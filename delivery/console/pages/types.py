"""Event types: what comes in, how much of it, and who asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.console.visits import get
from delivery.filters import matches
from delivery.paging import Cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.ledger.present import TypeSeen
    from delivery.model import Endpoint, TenantId

# Of a tenant so many endpoints are asked what they ask for, the newest.
ENDPOINTS: Final = 200
SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A type among the newest events: its share of them, and who asks for it; None: not asked."""

    type: str
    count: int
    newest: datetime
    share: float
    askers: Sequence[Endpoint] | None


async def every(visit: Visit) -> Response:
    """The types of the newest events, the most frequent first."""
    found = await visit.uses.figures.types(visit.tenant_id)
    endpoints, bounded = await _endpoints(visit, visit.tenant_id)
    return visit.page(
        "types.html",
        types=seen(found, endpoints),
        looked_at=sum(one.count for one in found),
        bounded=bounded,
        most=ENDPOINTS,
        most_shown=SHOWN,
    )


async def _endpoints(visit: Visit, tenant_id: TenantId | None) -> tuple[Sequence[Endpoint] | None, bool]:
    """A tenant's endpoints that get its events; of all tenants that would be too many."""
    if tenant_id is None:
        return None, False
    page = await visit.uses.endpoints.page(tenant_id, Cut(ENDPOINTS))
    return [one for one in page.items if not one.operational], page.last is not None


def seen(found: Sequence[TypeSeen], endpoints: Iterable[Endpoint] | None) -> list[Seen]:
    """Each type with its share and its askers."""
    whole = sum(one.count for one in found) or 1
    asking = None if endpoints is None else list(endpoints)
    return [
        Seen(
            one.type,
            one.count,
            one.newest,
            one.count / whole,
            None if asking is None else [each for each in asking if matches(each.filter, one.type)],
        )
        for one in found
    ]


ROUTES: Final = [get("/types", every)]
