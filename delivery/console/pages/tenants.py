"""Tenants: list, create and change them, with their retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.forms.fields import parse_whole_number
from delivery.console.web.context import (
    EMPTY_FORM,
    TENANT_PARAM,
    Form,
    FormState,
    make_get_route,
    make_post_route,
)
from delivery.console.web.paging import Pager
from delivery.domain.errors import Invalid, NotAllowed, NotFound
from delivery.domain.ids import Prefix, TenantId, format_id
from delivery.domain.pagination import PageRequest
from delivery.domain.retention import TENANT_CONFIGURABLE, RetainedData
from delivery.domain.scopes import TENANT_SCOPES
from delivery.domain.validation import check_reason
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.services.tenants import TenantChanges

PAGE_SIZE: Final = 50
MAX_ENDPOINTS: Final = 20
MAX_KEYS: Final = 100
_MAX_SEARCH_LENGTH: Final = 200


async def list_tenants(ctx: RequestContext) -> Response:
    """List tenants, newest first; a user of one tenant is redirected to it."""
    if ctx.principal.tenant_id is not None:
        return ctx.redirect(f"/tenants/{format_id(Prefix.TENANT, ctx.principal.tenant_id)}")
    name_query = ctx.query.get_text("name")[:_MAX_SEARCH_LENGTH].replace("\0", "")
    pager = Pager(ctx, "/tenants", Prefix.TENANT, PAGE_SIZE, {"name": name_query})
    page = await ctx.services.tenants.list_tenants(pager.request, name_contains=name_query or None)
    return ctx.render_page(
        "tenants.html",
        tenants=page.items,
        name_query=name_query,
        **pager.build_links(page),
    )


async def show_tenant(ctx: RequestContext) -> Response:
    """Show one tenant."""
    return await render_tenant_page(ctx, parse_tenant_id(ctx), FormState())


async def show_new_form(ctx: RequestContext) -> Response:
    """Show the form for a new tenant."""
    require_staff(ctx)
    return ctx.render_page("tenant_new.html", form_input=EMPTY_FORM, errors={})


async def create_tenant(ctx: RequestContext) -> Response:
    """Create a tenant."""
    require_staff(ctx)
    form = await ctx.read_form()
    try:
        tenant = await ctx.services.tenants.create(form.get_text("name"), actor=ctx.principal.actor)
    except Invalid as error:
        return ctx.render_page(
            "tenant_new.html", status=422, form_input=form, errors={error.field: error.why}
        )
    public_id = format_id(Prefix.TENANT, tenant.id)
    return ctx.redirect(f"/tenants/{public_id}", flash="Tenant created. Next it needs an API key.")


async def change_tenant(ctx: RequestContext) -> Response:
    """Change a tenant's name and retention."""
    require_staff(ctx)
    tenant_id = parse_tenant_id(ctx)
    form = await ctx.read_form()
    try:
        reason = check_reason(form.get_optional("reason"))
        await ctx.services.tenants.change(
            tenant_id, _parse_changes(form), reason=reason, actor=ctx.principal.actor
        )
    except Invalid as error:
        return await render_tenant_page(
            ctx, tenant_id, FormState("change", form, {error.field: error.why}, 422)
        )
    return ctx.redirect(f"/tenants/{format_id(Prefix.TENANT, tenant_id)}", flash="Changes saved.")


def _parse_changes(form: Form) -> TenantChanges:
    """Parse the changes; raises Invalid for days that are not a whole number."""
    days: dict[str, int | None] = {}
    for content in TENANT_CONFIGURABLE:
        days[content] = parse_whole_number(
            form.get_text(content), f"retention.{content}", "must be a whole number of days, or empty"
        )
    return {"name": form.get_text("name"), "retention": days}


# ------------------------------------------------------------------ the page
async def render_tenant_page(ctx: RequestContext, tenant_id: TenantId, state: FormState) -> Response:
    """Render a tenant's page."""
    tenants = ctx.services.tenants
    tenant = await tenants.read(tenant_id)
    keys = await ctx.services.api_keys.list_keys(tenant_id, PageRequest(MAX_KEYS))
    endpoints = await ctx.services.endpoints.list_endpoints(tenant_id, PageRequest(MAX_ENDPOINTS))
    defaults = ctx.services.settings.retention_periods
    periods = defaults.apply_tenant_periods(tenant.retention)
    return ctx.render_page(
        "tenant.html",
        status=state.status,
        tenant=tenant,
        public_id=format_id(Prefix.TENANT, tenant_id),
        narrowed_url=ctx.link("/deliveries", **{TENANT_PARAM: format_id(Prefix.TENANT, tenant_id)}),
        keys=keys.items,
        more_keys=keys.next_cursor is not None,
        endpoints=endpoints.items,
        more_endpoints=endpoints.next_cursor is not None,
        retention_rows=[
            (one, periods[one], tenant.retention.get(one), defaults.get_days(one))
            for one in TENANT_CONFIGURABLE
        ],
        journal_days=defaults.get_days(RetainedData.JOURNAL),
        scopes=TENANT_SCOPES,
        can_change=ctx.is_staff and ctx.has_ability(Ability.ADMINISTER),
        form_name=state.form_name,
        form_input=state.form_input,
        errors=state.errors,
    )


def parse_tenant_id(ctx: RequestContext) -> TenantId:
    """Parse the tenant in the path; raises NotFound if the user may not see it."""
    tenant_id = TenantId(ctx.parse_path_id(Prefix.TENANT))
    if ctx.principal.tenant_id not in {None, tenant_id}:
        raise NotFound("tenant", format_id(Prefix.TENANT, tenant_id))
    return tenant_id


def require_staff(ctx: RequestContext) -> None:
    """Raise NotAllowed for users of one tenant, whatever their role: only staff change tenants."""
    if not ctx.is_staff:
        raise NotAllowed("Only the operator can change tenants and their keys.")


ROUTES: Final = [
    make_get_route("/tenants", list_tenants),
    make_get_route("/tenants/new", show_new_form, Ability.ADMINISTER),
    make_post_route("/tenants", create_tenant, Ability.ADMINISTER),
    make_get_route("/tenants/{id}", show_tenant),
    make_post_route("/tenants/{id}/change", change_tenant, Ability.ADMINISTER),
]
