"""My account: who I am here, what I may do, and my password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.visits import get, post
from delivery.errors import Invalid, NotAllowed
from delivery.people import Ability, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.people import PersonId

_CHANGED: Final = "Your password is changed. Your other sessions have ended."


async def show(visit: Visit) -> Response:
    """My account."""
    return await _page(visit, {})


async def renew_password(visit: Visit) -> Response:
    """Change my password; the current one shows that it is me."""
    _me(visit)
    form = await visit.form()
    current, new = form.raw("current"), form.raw("password")
    if new != form.raw("repeated"):
        return await _page(visit, {"repeated": "is not the same"})
    try:
        await visit.uses.people.renew_password(visit.token, current, new, address=visit.visitor.actor.address)
    except Invalid as error:
        return await _page(visit, {error.field: error.why})
    return visit.go("/account", said=_CHANGED)


async def _page(visit: Visit, faults: Mapping[str, str]) -> Response:
    person = await visit.uses.people.read(_me(visit))
    return visit.page(
        "account.html",
        status=422 if faults else 200,
        person=person,
        abilities=in_words(person.role),
        faults=faults,
    )


def _me(visit: Visit) -> PersonId:
    """Who I am; raises NotAllowed for whoever came by a link, and so has no account."""
    if visit.visitor.person_id is None:
        raise NotAllowed("You came by a link, and so have no account here.")
    return visit.visitor.person_id


ROUTES: Final = [get("/account", show), post("/account/password", renew_password, Ability.SEE)]
