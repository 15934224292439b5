"""Tenants: who they are, and for how long what they send is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from delivery.checks import checked_reason
from delivery.console.visits import NARROWED, Form, get, post
from delivery.errors import Invalid, NotAllowed, NotFound
from delivery.model import Prefix, TenantId, show_id
from delivery.paging import Cut
from delivery.people import Ability
from delivery.retention import TENANTS_OWN, Content
from delivery.scopes import OF_TENANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.tenants import TenantChanges

AT_ONCE: Final = 50
ENDPOINTS: Final = 20
KEYS: Final = 100
_LONGEST_SEARCH: Final = 200
_MOST_DIGITS: Final = 6
_EMPTY: Final = Form({})


@dataclass(frozen=True, slots=True)
class Shown:
    """The page as it is to be shown: which form was filled in, with what, and what is wrong with it."""

    form: str = ""
    typed: Form = _EMPTY
    faults: Mapping[str, str] = field(default_factory=dict)


async def every(visit: Visit) -> Response:
    """All tenants, newest first; who sees one alone goes there."""
    if visit.visitor.tenant_id is not None:
        return visit.go(f"/tenants/{show_id(Prefix.TENANT, visit.visitor.tenant_id)}")
    named = visit.query.text("name")[:_LONGEST_SEARCH].replace("\0", "")
    cut = Cut.following(AT_ONCE, visit.query.id(Prefix.TENANT, "behind"), oldest_first=False)
    page = await visit.uses.tenants.page(cut, named=named or None)
    more = None
    if page.last is not None:
        more = visit.link("/tenants", name=named, behind=show_id(Prefix.TENANT, page.last))
    return visit.page(
        "tenants.html",
        tenants=page.items,
        named=named,
        first=visit.link("/tenants", name=named) if visit.query.text("behind") else None,
        more=more,
    )


async def one(visit: Visit) -> Response:
    """One tenant."""
    return await page_of(visit, theirs(visit), Shown())


async def new(visit: Visit) -> Response:
    """The form of a new tenant."""
    refuse_unless_staff(visit)
    return visit.page("tenant_new.html", typed=_EMPTY, faults={})


async def create(visit: Visit) -> Response:
    """Make a tenant."""
    refuse_unless_staff(visit)
    form = await visit.form()
    try:
        made = await visit.uses.tenants.create(form.text("name"), actor=visit.visitor.actor)
    except Invalid as error:
        return visit.page("tenant_new.html", status=422, typed=form, faults={error.field: error.why})
    shown = show_id(Prefix.TENANT, made.id)
    return visit.go(f"/tenants/{shown}", said="The tenant is made. What it needs next is a key.")


async def change(visit: Visit) -> Response:
    """Change a tenant's name, and for how long what it has is kept."""
    refuse_unless_staff(visit)
    tenant_id = theirs(visit)
    form = await visit.form()
    try:
        reason = checked_reason(form.given("reason"))
        await visit.uses.tenants.change(tenant_id, _changes(form), reason=reason, actor=visit.visitor.actor)
    except Invalid as error:
        return await page_of(visit, tenant_id, Shown("change", form, {error.field: error.why}))
    return visit.go(f"/tenants/{show_id(Prefix.TENANT, tenant_id)}", said="Changed.")


def _changes(form: Form) -> TenantChanges:
    """What the form is to change; raises Invalid for days that are no number."""
    days: dict[str, int | None] = {}
    for content in TENANTS_OWN:
        text = form.text(content)
        if text and not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise Invalid(f"retention.{content}", "must be a whole number of days, or empty")
        days[content] = int(text) if text else None
    return {"name": form.text("name"), "retention": days}


# ------------------------------------------------------------------ the page
async def page_of(visit: Visit, tenant_id: TenantId, shown: Shown) -> Response:
    """A tenant's page."""
    tenants = visit.uses.tenants
    tenant = await tenants.read(tenant_id)
    keys = await visit.uses.keys.page(tenant_id, Cut(KEYS))
    endpoints = await visit.uses.endpoints.page(tenant_id, Cut(ENDPOINTS))
    terms = visit.uses.settings.retention
    kept = terms.shortened(tenant.retention)
    return visit.page(
        "tenant.html",
        status=422 if shown.faults else 200,
        tenant=tenant,
        shown=show_id(Prefix.TENANT, tenant_id),
        only=visit.link("/deliveries", **{NARROWED: show_id(Prefix.TENANT, tenant_id)}),
        keys=keys.items,
        more_keys=keys.last is not None,
        endpoints=endpoints.items,
        more_endpoints=endpoints.last is not None,
        terms=[(one, kept[one], tenant.retention.get(one), terms.days(one)) for one in TENANTS_OWN],
        journal=terms.days(Content.JOURNAL),
        scopes=OF_TENANTS,
        may_change=visit.is_staff and visit.may(Ability.ADMINISTER),
        form=shown.form,
        typed=shown.typed,
        faults=shown.faults,
    )


def theirs(visit: Visit) -> TenantId:
    """The tenant in the path; raises NotFound when it is not the visitor's to see."""
    tenant_id = TenantId(visit.id(Prefix.TENANT))
    if visit.visitor.tenant_id not in {None, tenant_id}:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
    return tenant_id


def refuse_unless_staff(visit: Visit) -> None:
    """Tenants are the operator's: whoever sees one alone changes none, whatever their role."""
    if not visit.is_staff:
        raise NotAllowed("Tenants and their keys are changed by the operator alone.")


ROUTES: Final = [
    get("/tenants", every),
    get("/tenants/new", new, Ability.ADMINISTER),
    post("/tenants", create, Ability.ADMINISTER),
    get("/tenants/{id}", one),
    post("/tenants/{id}/change", change, Ability.ADMINISTER),
]
