"""The audit: who did what, when, from where and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.audited import COMMON, deed, read_audit, subject
from delivery.console.filters import PERIODS
from delivery.console.visits import get
from delivery.model import Prefix, show_id
from delivery.paging import Cut, Page
from delivery.tracing.sentences import who

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.audit import Audited
    from delivery.console.visits import Visit

AT_ONCE: Final = 50


async def every(visit: Visit) -> Response:
    """The entries that the address means, newest first."""
    asked = read_audit(visit.query, now=visit.now)
    page: Page[Audited] = Page((), None)
    if asked.wanted is not None:
        cut = Cut.following(AT_ONCE, visit.query.id(Prefix.AUDIT, "behind"), oldest_first=False)
        page = await visit.uses.audit.page(visit.tenant_id, asked.wanted, cut)
    entries = [one.entry for one in page.items]
    names = await visit.uses.names.of(
        visit.tenant_id,
        endpoint_ids=[entry.endpoint_id for entry in entries if entry.endpoint_id is not None],
        tenant_ids=[entry.tenant_id for entry in entries] if visit.is_staff else (),
    )
    more = None
    if page.last is not None:
        more = visit.link("/audit", **asked.written, behind=show_id(Prefix.AUDIT, page.last))
    return visit.page(
        "audit.html",
        status=422 if asked.faults else 200,
        asked=asked,
        entries=entries,
        urls=names.urls,
        tenants=names.tenants,
        first=visit.link("/audit", **asked.written) if visit.query.text("behind") else None,
        more=more,
        periods=PERIODS,
        common=COMMON,
        deed=deed,
        subject=subject,
        who=who,
    )


ROUTES: Final = [get("/audit", every)]
