"""Create, rotate and revoke a tenant's API keys, which the tenant's page lists."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.console.forms.fields import parse_whole_number
from delivery.console.pages.tenants import parse_tenant_id, render_tenant_page, require_staff
from delivery.console.web.context import FormState, make_get_route, make_post_route
from delivery.domain.errors import Conflict, Invalid
from delivery.domain.ids import KeyId, Prefix, format_id
from delivery.domain.scopes import TENANT_SCOPES, Scope
from delivery.domain.setting_parsers import HOUR
from delivery.services.accounts.roles import Ability
from delivery.services.api_keys.validation import NewApiKey

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import Form, RequestContext
    from delivery.domain.api_key import ApiKey
    from delivery.domain.ids import TenantId
    from delivery.domain.tenant import Tenant
    from delivery.services.api_keys.validation import CreatedApiKey


async def create_key(ctx: RequestContext) -> Response:
    """Create a key and show it once."""
    require_staff(ctx)
    tenant_id = parse_tenant_id(ctx)
    form = await ctx.read_form()
    try:
        created = await ctx.services.api_keys.create(
            tenant_id, _parse_new_key(form), actor=ctx.principal.actor
        )
    except Invalid as error:
        return await render_tenant_page(ctx, tenant_id, FormState("key", form, {error.field: error.why}, 422))
    return await _render_key_once(ctx, tenant_id, created)


async def show_rotation(ctx: RequestContext) -> Response:
    """Ask for confirmation and explain a rotation."""
    require_staff(ctx)
    tenant, key = await _load_key(ctx)
    return _render_rotation(ctx, tenant, key)


async def rotate_key(ctx: RequestContext) -> Response:
    """Replace a key with a new one and show it once."""
    require_staff(ctx)
    tenant, key = await _load_key(ctx)
    form = await ctx.read_form()
    try:
        created = await ctx.services.api_keys.rotate(
            tenant.id,
            key.id,
            overlap=_parse_hours(form),
            reason=form.get_optional("reason"),
            actor=ctx.principal.actor,
        )
    except Invalid as error:
        return _render_rotation(ctx, tenant, key, form_input=form, errors={error.field: error.why})
    except Conflict as error:
        return _render_rotation(ctx, tenant, key, errors={"overlap_hours": str(error)})
    return await _render_key_once(ctx, tenant.id, created)


async def show_revocation(ctx: RequestContext) -> Response:
    """Ask for confirmation and explain what stops working."""
    require_staff(ctx)
    tenant, key = await _load_key(ctx)
    return ctx.render_page("key_revoke.html", tenant=tenant, key=key)


async def revoke_key(ctx: RequestContext) -> Response:
    """Revoke a key."""
    require_staff(ctx)
    tenant_id = parse_tenant_id(ctx)
    key_id = KeyId(ctx.parse_path_id(Prefix.KEY, "key"))
    reason = (await ctx.read_form()).get_optional("reason")
    await ctx.services.api_keys.revoke(tenant_id, key_id, reason=reason, actor=ctx.principal.actor)
    flash = "Key revoked. It stops working within five seconds."
    return ctx.redirect(f"/tenants/{format_id(Prefix.TENANT, tenant_id)}", flash=flash)


def _parse_new_key(form: Form) -> NewApiKey:
    """Parse the form of a new key; raises Invalid."""
    days = parse_whole_number(
        form.get_text("expires_in_days"), "expires_in_seconds", "must be a whole number of days, or empty"
    )
    scopes = form.get_all("scope")
    if not set(scopes) <= set(TENANT_SCOPES):
        raise Invalid("scopes", "are not offered by this form")
    return NewApiKey(
        form.get_text("name"),
        scopes=[Scope(name) for name in scopes],
        lifetime=None if days is None else timedelta(days=days),
    )


def _parse_hours(form: Form) -> timedelta | None:
    hours = parse_whole_number(
        form.get_text("overlap_hours"), "overlap_hours", "must be a whole number of hours, or empty"
    )
    return None if hours is None else timedelta(hours=hours)


def _render_rotation(
    ctx: RequestContext,
    tenant: Tenant,
    key: ApiKey,
    *,
    form_input: Form | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    return ctx.render_page(
        "key_rotate.html",
        status=422 if errors else 200,
        tenant=tenant,
        key=key,
        hours=ctx.services.settings.rotation_overlap / HOUR,
        form_input=form_input,
        errors=errors or {},
    )


async def _render_key_once(ctx: RequestContext, tenant_id: TenantId, made: CreatedApiKey) -> Response:
    answer = ctx.render_page(
        "key_made.html", tenant=await ctx.services.tenants.read(tenant_id), created_key=made, key=made.key
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _load_key(ctx: RequestContext) -> tuple[Tenant, ApiKey]:
    tenant_id = parse_tenant_id(ctx)
    key = await ctx.services.api_keys.read(tenant_id, KeyId(ctx.parse_path_id(Prefix.KEY, "key")))
    return await ctx.services.tenants.read(tenant_id), key


ROUTES: Final = [
    make_post_route("/tenants/{id}/keys", create_key, Ability.ADMINISTER),
    make_get_route("/tenants/{id}/keys/{key}/rotate", show_rotation, Ability.ADMINISTER),
    make_post_route("/tenants/{id}/keys/{key}/rotate", rotate_key, Ability.ADMINISTER),
    make_get_route("/tenants/{id}/keys/{key}/revoke", show_revocation, Ability.ADMINISTER),
    make_post_route("/tenants/{id}/keys/{key}/revoke", revoke_key, Ability.ADMINISTER),
]
