"""My account: who I am here, what I may do, and my password."""

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

_CHANGED_MESSAGE: Final = "Your password is changed. Your other sessions have ended."


async def show_account(visit: RequestContext) -> Response:
    """My account."""
    return await _render_page(visit, {})


async def change_password(visit: RequestContext) -> Response:
    """Change my password; the current one shows that it is me."""
    _require_user_id(visit)
    form = await visit.read_form()
    current, new = form.get_raw("current"), form.get_raw("password")
    if new != form.get_raw("repeated"):
        return await _render_page(visit, {"repeated": "is not the same"})
    try:
        await visit.services.accounts.change_own_password(
            visit.session_token, current, new, address=visit.principal.actor.address
        )
    except Invalid as error:
        return await _render_page(visit, {error.field: error.why})
    return visit.redirect("/account", flash=_CHANGED_MESSAGE)


async def _render_page(visit: RequestContext, faults: Mapping[str, str]) -> Response:
    person = await visit.services.accounts.read(_require_user_id(visit))
    return visit.render_page(
        "account.html",
        status=422 if faults else 200,
        person=person,
        abilities=describe_role(person.role),
        faults=faults,
    )


def _require_user_id(visit: RequestContext) -> UserId:
    """Who I am; raises NotAllowed for whoever came by a link, and so has no account."""
    if visit.principal.user_id is None:
        raise NotAllowed("You came by a link, and so have no account here.")
    return visit.principal.user_id


ROUTES: Final = [
    make_get_route("/account", show_account),
    make_post_route("/account/password", change_password, Ability.SEE),
]
