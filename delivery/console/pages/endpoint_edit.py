"""Create and edit endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.forms.endpoint import (
    build_form_values,
    describe_field_error,
    parse_changes,
    parse_new_endpoint,
)
from delivery.console.pages.endpoint import load_endpoint
from delivery.console.web.context import EMPTY_FORM, Form, make_get_route, make_post_route
from delivery.domain.errors import Invalid
from delivery.domain.ids import Prefix, format_id
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.endpoint import Endpoint
    from delivery.services.endpoints.sealing import CreatedSecret


async def show_new_form(ctx: RequestContext) -> Response:
    """Show the form for a new endpoint of the tenant that the page is narrowed to."""
    return _render_form(ctx, None, EMPTY_FORM)


async def create_endpoint(ctx: RequestContext) -> Response:
    """Create an endpoint and show its secret once."""
    form = await ctx.read_form()
    if ctx.tenant_id is None:
        return _render_form(ctx, None, form)
    try:
        endpoint, secret = await ctx.services.endpoints.create(
            ctx.tenant_id, parse_new_endpoint(form), actor=ctx.principal.actor
        )
    except Invalid as error:
        return _render_form(ctx, None, form, error=error)
    return render_secret_once(ctx, endpoint, secret, is_new=True)


async def show_edit_form(ctx: RequestContext) -> Response:
    """Show the form with the endpoint's current settings."""
    endpoint = await load_endpoint(ctx)
    return _render_form(ctx, endpoint, Form(build_form_values(endpoint)))


async def change_endpoint(ctx: RequestContext) -> Response:
    """Apply the form's changes to an endpoint."""
    endpoint, form = await load_endpoint(ctx), await ctx.read_form()
    try:
        await ctx.services.endpoints.change(
            endpoint.tenant_id,
            endpoint.id,
            parse_changes(form),
            reason=form.get_optional("reason"),
            actor=ctx.principal.actor,
        )
    except Invalid as error:
        return _render_form(ctx, endpoint, form, error=error)
    return ctx.redirect(f"/endpoints/{format_id(Prefix.ENDPOINT, endpoint.id)}", flash="Changes saved.")


def render_secret_once(
    ctx: RequestContext, endpoint: Endpoint, secret: CreatedSecret, *, is_new: bool
) -> Response:
    """Render a new secret on a page that is not cached."""
    answer = ctx.render_page("secret.html", endpoint=endpoint, new_secret=secret, is_new=is_new)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _render_form(
    ctx: RequestContext, endpoint: Endpoint | None, form_input: Form, *, error: Invalid | None = None
) -> Response:
    answer = ctx.render_page(
        "endpoint_edit.html",
        status=200 if error is None else 422,
        endpoint=endpoint,
        form_input=form_input,
        errors={} if error is None else dict([describe_field_error(error)]),
        settings=ctx.services.settings,
    )
    answer.headers["Cache-Control"] = "no-store"  # headers as they were typed may be on it
    return answer


ROUTES: Final = [
    make_get_route("/endpoints/new", show_new_form, Ability.ADMINISTER),
    make_post_route("/endpoints/new", create_endpoint, Ability.ADMINISTER),
    make_get_route("/endpoints/{id}/edit", show_edit_form, Ability.ADMINISTER),
    make_post_route("/endpoints/{id}/edit", change_endpoint, Ability.ADMINISTER),
]
