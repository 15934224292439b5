"""People: who may sign in here, and as what. For admins alone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from delivery.console.visits import Form, get, post
from delivery.errors import Conflict, Invalid
from delivery.model import PersonId, Prefix, show_id
from delivery.paging import Cut
from delivery.people import Ability, PersonChanges, Role, in_words
from delivery.people.passwords import generated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.people import Person

AT_ONCE: Final = 50
_EMPTY: Final = Form({})
_ABILITIES: Final = {role: in_words(role) for role in Role}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The page as it is to be shown: which form was filled in, with what, and what is wrong with it."""

    form: str = ""
    typed: Form = _EMPTY
    faults: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


async def every(visit: Visit) -> Response:
    """Everybody who has an account, newest first."""
    cut = Cut.following(AT_ONCE, visit.query.id(Prefix.PERSON, "behind"), oldest_first=False)
    page = await visit.uses.people.page(cut)
    more = None
    if page.last is not None:
        more = visit.link("/people", behind=show_id(Prefix.PERSON, page.last))
    first = visit.link("/people") if visit.query.text("behind") else None
    return visit.page("people.html", people=page.items, first=first, more=more)


async def new(visit: Visit) -> Response:
    """The form of a new account."""
    return _new(visit, _Shown())


async def create(visit: Visit) -> Response:
    """Make an account; a password that nobody typed is shown this once."""
    form = await visit.form()
    password = form.raw("password") or generated(secrets.token_bytes)
    try:
        made = await visit.uses.people.create(
            form.text("email"), form.text("name"), _role(form), password, actor=visit.visitor.actor
        )
    except Invalid as error:
        return _new(visit, _Shown("new", form, {error.field: error.why}, 422))
    except Conflict:
        return _new(visit, _Shown("new", form, {"email": "has an account already"}, 409))
    if form.raw("password"):
        return visit.go(_path(made.id), said=f"{made.name} can sign in now.")
    return _tell(visit, made, password)


async def one(visit: Visit) -> Response:
    """One account."""
    return await _page(visit, _Shown())


async def change(visit: Visit) -> Response:
    """Change what somebody is called, and what they may do."""
    form = await visit.form()

    async def act(person_id: PersonId) -> Response:
        changes = PersonChanges(name=form.text("name"), role=_role(form))
        await _change(visit, person_id, changes, form)
        return visit.go(_path(person_id), said="Changed, in open sessions too.")

    return await _acted(visit, "change", form, act)


async def disable(visit: Visit) -> Response:
    """Keep somebody out, and end their sessions."""
    form = await visit.form()

    async def act(person_id: PersonId) -> Response:
        await _change(visit, person_id, PersonChanges(disabled=True), form)
        return visit.go(_path(person_id), said="Disabled: they are signed out, and cannot sign in.")

    return await _acted(visit, "disable", form, act)


async def enable(visit: Visit) -> Response:
    """Let somebody in again."""
    form = await visit.form()

    async def act(person_id: PersonId) -> Response:
        await _change(visit, person_id, PersonChanges(disabled=False), form)
        return visit.go(_path(person_id), said="They can sign in again.")

    return await _acted(visit, "disable", form, act)


async def set_password(visit: Visit) -> Response:
    """Give somebody a new password; one that nobody typed is shown this once."""
    form = await visit.form()
    password = form.raw("password") or generated(secrets.token_bytes)

    async def act(person_id: PersonId) -> Response:
        mine = person_id == visit.visitor.person_id
        await visit.uses.people.set_password(
            person_id,
            password,
            keep=visit.token if mine else None,
            reason=form.given("reason"),
            actor=visit.visitor.actor,
        )
        if form.raw("password"):
            return visit.go(_path(person_id), said="The password is set, and their sessions have ended.")
        return _tell(visit, await visit.uses.people.read(person_id), password)

    return await _acted(visit, "password", form, act)


async def _change(visit: Visit, person_id: PersonId, changes: PersonChanges, form: Form) -> None:
    await visit.uses.people.change(person_id, changes, reason=form.given("reason"), actor=visit.visitor.actor)


async def _acted(
    visit: Visit, name: str, form: Form, act: Callable[[PersonId], Awaitable[Response]]
) -> Response:
    """Do it, or show the form again with what is wrong."""
    try:
        return await act(_theirs(visit))
    except Invalid as error:
        return await _page(visit, _Shown(name, form, {error.field: error.why}, 422))
    except Conflict as error:
        return await _page(visit, _Shown(name, form, {"state": str(error)}, 409))


# ------------------------------------------------------------------ the pages
def _new(visit: Visit, shown: _Shown) -> Response:
    return visit.page(
        "person_new.html",
        status=shown.status,
        typed=shown.typed,
        faults=shown.faults,
        roles=_ABILITIES,
    )


async def _page(visit: Visit, shown: _Shown) -> Response:
    person = await visit.uses.people.read(_theirs(visit))
    return visit.page(
        "person.html",
        status=shown.status,
        person=person,
        shown=show_id(Prefix.PERSON, person.id),
        is_me=person.id == visit.visitor.person_id,
        form=shown.form,
        typed=shown.typed,
        faults=shown.faults,
        roles=_ABILITIES,
    )


def _tell(visit: Visit, person: Person, password: str) -> Response:
    answer = visit.page("person_password.html", person=person, password=password)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _theirs(visit: Visit) -> PersonId:
    return PersonId(visit.id(Prefix.PERSON))


def _path(person_id: PersonId) -> str:
    return f"/people/{show_id(Prefix.PERSON, person_id)}"


def _role(form: Form) -> Role:
    try:
        return Role(form.text("role"))
    except ValueError:
        raise Invalid("role", f"must be one of {', '.join(Role)}") from None


ROUTES: Final = [
    get("/people", every, Ability.ADMINISTER),
    get("/people/new", new, Ability.ADMINISTER),
    post("/people", create, Ability.ADMINISTER),
    get("/people/{id}", one, Ability.ADMINISTER),
    post("/people/{id}/change", change, Ability.ADMINISTER),
    post("/people/{id}/disable", disable, Ability.ADMINISTER),
    post("/people/{id}/enable", enable, Ability.ADMINISTER),
    post("/people/{id}/password", set_password, Ability.ADMINISTER),
]
