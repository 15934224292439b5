"""The audit: who did what, when, from where and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.forms.audit import COMMON_ACTIONS, parse_audit_filters
from delivery.console.forms.delivery_filter import PERIODS
from delivery.console.views.audit import describe_action, find_subject
from delivery.console.web.context import make_get_route
from delivery.console.web.paging import Pager
from delivery.domain.ids import Prefix
from delivery.domain.pagination import Page
from delivery.services.sentences import format_actor

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.ledger.records.audit import AuditRecord

PAGE_SIZE: Final = 50


async def list_entries(ctx: RequestContext) -> Response:
    """List the entries that the URL selects, newest first."""
    filter_form = parse_audit_filters(ctx.query, now=ctx.now)
    pager = Pager(ctx, "/audit", Prefix.AUDIT, PAGE_SIZE, filter_form.values)
    page: Page[AuditRecord] = Page((), None)
    if filter_form.selection is not None:
        page = await ctx.services.audit.list_entries(ctx.tenant_id, filter_form.selection, pager.request)
    entries = [one.entry for one in page.items]
    names = await ctx.services.lookups.load_labels(
        ctx.tenant_id,
        endpoint_ids=[entry.endpoint_id for entry in entries if entry.endpoint_id is not None],
        tenant_ids=[entry.tenant_id for entry in entries] if ctx.is_staff else (),
    )
    return ctx.render_page(
        "audit.html",
        status=422 if filter_form.errors else 200,
        filter_form=filter_form,
        entries=entries,
        endpoint_urls=names.endpoint_urls,
        tenant_names=names.tenant_names,
        **pager.build_links(page),
        periods=PERIODS,
        common_actions=COMMON_ACTIONS,
        describe_action=describe_action,
        find_subject=find_subject,
        format_actor=format_actor,
    )


ROUTES: Final = [make_get_route("/audit", list_entries)]
