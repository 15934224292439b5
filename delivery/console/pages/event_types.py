"""Event types: what comes in, how much of it, and who asks for it; and what the catalogue says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.console.visits import get
from delivery.filters import matches
from delivery.paging import Cut
from delivery.replay.terms import NEVER_MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    """A type among the newest events: its share of them, and who asks for it; None: not asked.

    `own`: the engine's, which goes to operational endpoints or to the one that is tested.
    """

    type: str
    count: int
    newest: datetime
    share: float
    own: bool
    askers: Sequence[Endpoint] | None


async def every(visit: Visit) -> Response:
    """The types of the newest events, the most frequent first, and those of the catalogue."""
    catalogue = await visit.uses.catalogue.types()
    found = await visit.uses.figures.types(visit.tenant_id)
    endpoints, bounded = await _endpoints(visit, visit.tenant_id)
    return visit.page(
        "types.html",
        types=seen(found, endpoints),
        looked_at=sum(one.count for one in found),
        bounded=bounded,
        catalogue=catalogue,
        declared={one.name for one in catalogue},
        most=ENDPOINTS,
        most_shown=SHOWN,
    )


async def _endpoints(visit: Visit, tenant_id: TenantId | None) -> tuple[Sequence[Endpoint] | None, bool]:
    """A tenant's endpoints; of all tenants they would be too many."""
    if tenant_id is None:
        return None, False
    page = await visit.uses.endpoints.page(tenant_id, Cut(ENDPOINTS))
    return page.items, page.last is not None


def seen(found: Sequence[TypeSeen], endpoints: Sequence[Endpoint] | None) -> list[Seen]:
    """Each type with its share and its askers."""
    whole = sum(one.count for one in found) or 1
    return [_seen(one, one.count / whole, endpoints) for one in found]


def _seen(one: TypeSeen, share: float, endpoints: Sequence[Endpoint] | None) -> Seen:
    own = one.type in NEVER_MISSING
    askers = None
    if endpoints is not None:
        askers = [each for each in endpoints if each.operational is own and matches(each.filter, one.type)]
    return Seen(one.type, one.count, one.newest, share, own, askers)


ROUTES: Final = [get("/types", every)]
