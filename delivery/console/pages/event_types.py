"""Event types: their volume, their subscribers, and the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.console.web.context import make_get_route
from delivery.domain.event_patterns import matches_any_pattern
from delivery.domain.pagination import PageRequest
from delivery.services.replays.validation import NEVER_MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import TenantId
    from delivery.ledger.stats.live import EventTypeCount

# Only this many endpoints of a tenant, the newest, are checked for subscriptions.
MAX_ENDPOINTS: Final = 200
MAX_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class EventTypeRow:
    """A type among the newest events: its share of them, and who asks for it; None: not asked.

    `own`: the engine's, which goes to operational endpoints or to the one that is tested.
    """

    type: str
    count: int
    newest: datetime
    share: float
    is_system: bool
    subscribers: Sequence[Endpoint] | None


async def list_types(ctx: RequestContext) -> Response:
    """List the types of the newest events, most frequent first, and the catalogue."""
    catalogue = await ctx.services.event_types.list_types()
    counts = await ctx.services.stats.list_frequent_types(ctx.tenant_id)
    endpoints, bounded = await _load_endpoints(ctx, ctx.tenant_id)
    return ctx.render_page(
        "types.html",
        type_rows=build_type_rows(counts, endpoints),
        scanned_events=sum(one.count for one in counts),
        endpoints_truncated=bounded,
        catalogue=catalogue,
        declared_names={one.name for one in catalogue},
        max_endpoints=MAX_ENDPOINTS,
        max_shown=MAX_SHOWN,
    )


async def _load_endpoints(
    ctx: RequestContext, tenant_id: TenantId | None
) -> tuple[Sequence[Endpoint] | None, bool]:
    """Load a tenant's endpoints and whether there are more; None for all tenants, which would be too many."""
    if tenant_id is None:
        return None, False
    page = await ctx.services.endpoints.list_endpoints(tenant_id, PageRequest(MAX_ENDPOINTS))
    return page.items, page.next_cursor is not None


def build_type_rows(
    counts: Sequence[EventTypeCount], endpoints: Sequence[Endpoint] | None
) -> list[EventTypeRow]:
    """Build a row for each type with its share and its subscribers."""
    total = sum(one.count for one in counts) or 1
    return [_build_type_row(one, one.count / total, endpoints) for one in counts]


def _build_type_row(one: EventTypeCount, share: float, endpoints: Sequence[Endpoint] | None) -> EventTypeRow:
    is_system = one.type in NEVER_MISSING
    subscribers = None
    if endpoints is not None:
        subscribers = [
            each
            for each in endpoints
            if each.operational is is_system and matches_any_pattern(each.filter, one.type)
        ]
    return EventTypeRow(one.type, one.count, one.newest, share, is_system, subscribers)


ROUTES: Final = [make_get_route("/types", list_types)]
