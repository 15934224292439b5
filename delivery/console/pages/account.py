"""My account: name, role, abilities and password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.web.context import make_get_route, make_post_route
from delivery.domain.errors import Invalid, NotAllowed
from delivery.services.accounts.roles import Ability, describe_role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.ids import UserId

_CHANGED_MESSAGE: Final = "Password changed. Your other sessions have ended."


async def show_account(ctx: RequestContext) -> Response:
    """Show the user's own account."""
    return await _render_page(ctx, {})


async def change_password(ctx: RequestContext) -> Response:
    """Change the user's own password; requires the current one."""
    _require_user_id(ctx)
    form = await ctx.read_form()
    current, new = form.get_raw("current"), form.get_raw("password")
    if new != form.get_raw("repeated"):
        return await _render_page(ctx, {"repeated": "does not match"})
    try:
        await ctx.services.accounts.change_own_password(
            ctx.session_token, current, new, address=ctx.principal.actor.address
        )
    except Invalid as error:
        return await _render_page(ctx, {error.field: error.why})
    return ctx.redirect("/account", flash=_CHANGED_MESSAGE)


async def _render_page(ctx: RequestContext, faults: Mapping[str, str]) -> Response:
    person = await ctx.services.accounts.read(_require_user_id(ctx))
    return ctx.render_page(
        "account.html",
        status=422 if faults else 200,
        user=person,
        abilities=describe_role(person.role),
        errors=faults,
    )


def _require_user_id(ctx: RequestContext) -> UserId:
    """The user's id; raises NotAllowed for a session opened by a link, which has no account."""
    if ctx.principal.user_id is None:
        raise NotAllowed("You opened the console with a link, so you have no account here.")
    return ctx.principal.user_id


ROUTES: Final = [
    make_get_route("/account", show_account),
    make_post_route("/account/password", change_password, Ability.SEE),
]
