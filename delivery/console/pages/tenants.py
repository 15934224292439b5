"""Tenants: who they are, their keys, and for how long what they send is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from delivery.checks import checked_reason
from delivery.console.visits import NARROWED, Form, get, post
from delivery.errors import Invalid, NotAllowed, NotFound
from delivery.model import KeyId, Prefix, TenantId, show_id
from delivery.paging import Cut
from delivery.people import Ability
from delivery.retention import TENANTS_OWN, Content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.model import ApiKey, Tenant
    from delivery.tenants import TenantChanges

AT_ONCE: Final = 50
ENDPOINTS: Final = 20
KEYS: Final = 100
_LONGEST_SEARCH: Final = 200
_MOST_DIGITS: Final = 6
_EMPTY: Final = Form({})


@dataclass(frozen=True, slots=True)
class _Shown:
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
    return await _page(visit, _theirs(visit), _Shown())


async def new(visit: Visit) -> Response:
    """The form of a new tenant."""
    _refuse_unless_staff(visit)
    return visit.page("tenant_new.html", typed=_EMPTY, faults={})


async def create(visit: Visit) -> Response:
    """Make a tenant."""
    _refuse_unless_staff(visit)
    form = await visit.form()
    try:
        made = await visit.uses.tenants.create(form.text("name"), actor=visit.visitor.actor)
    except Invalid as error:
        return visit.page("tenant_new.html", status=422, typed=form, faults={error.field: error.why})
    shown = show_id(Prefix.TENANT, made.id)
    return visit.go(f"/tenants/{shown}", said="The tenant is made. What it needs next is a key.")


async def change(visit: Visit) -> Response:
    """Change a tenant's name, and for how long what it has is kept."""
    _refuse_unless_staff(visit)
    tenant_id = _theirs(visit)
    form = await visit.form()
    try:
        reason = checked_reason(form.given("reason"))
        await visit.uses.tenants.change(tenant_id, _changes(form), reason=reason, actor=visit.visitor.actor)
    except Invalid as error:
        return await _page(visit, tenant_id, _Shown("change", form, {error.field: error.why}))
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


# ------------------------------------------------------------------ keys
async def create_key(visit: Visit) -> Response:
    """Make a key, and show it this once."""
    _refuse_unless_staff(visit)
    tenant_id = _theirs(visit)
    form = await visit.form()
    try:
        key, text = await visit.uses.tenants.create_key(
            tenant_id, form.text("name"), actor=visit.visitor.actor
        )
    except Invalid as error:
        return await _page(visit, tenant_id, _Shown("key", form, {error.field: error.why}))
    answer = visit.page("key_made.html", tenant=await visit.uses.tenants.read(tenant_id), key=key, text=text)
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def ask_to_revoke(visit: Visit) -> Response:
    """Say what stops working when a key is revoked."""
    _refuse_unless_staff(visit)
    tenant, key = await _key(visit)
    return visit.page("key_revoke.html", tenant=tenant, key=key)


async def revoke(visit: Visit) -> Response:
    """End a key."""
    _refuse_unless_staff(visit)
    tenant_id = _theirs(visit)
    key_id = KeyId(visit.id(Prefix.KEY, "key"))
    reason = (await visit.form()).given("reason")
    await visit.uses.tenants.revoke_key(tenant_id, key_id, reason=reason, actor=visit.visitor.actor)
    said = "The key is revoked: within five seconds nothing takes it any more."
    return visit.go(f"/tenants/{show_id(Prefix.TENANT, tenant_id)}", said=said)


async def _key(visit: Visit) -> tuple[Tenant, ApiKey]:
    tenant_id, key_id = _theirs(visit), visit.id(Prefix.KEY, "key")
    page = await visit.uses.tenants.keys(tenant_id, Cut(KEYS))
    for key in page.items:
        if key.id == key_id:
            return await visit.uses.tenants.read(tenant_id), key
    raise NotFound("key", visit.request.path_params["key"])


# ------------------------------------------------------------------ the page
async def _page(visit: Visit, tenant_id: TenantId, shown: _Shown) -> Response:
    tenants = visit.uses.tenants
    tenant = await tenants.read(tenant_id)
    keys = await tenants.keys(tenant_id, Cut(KEYS))
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
        may_change=visit.is_staff and visit.may(Ability.ADMINISTER),
        form=shown.form,
        typed=shown.typed,
        faults=shown.faults,
    )


def _theirs(visit: Visit) -> TenantId:
    """The tenant in the path; raises NotFound when it is not the visitor's to see."""
    tenant_id = TenantId(visit.id(Prefix.TENANT))
    if visit.visitor.tenant_id not in {None, tenant_id}:
        raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
    return tenant_id


def _refuse_unless_staff(visit: Visit) -> None:
    """Tenants are the operator's: whoever sees one alone changes none, whatever their role."""
    if not visit.is_staff:
        raise NotAllowed("Tenants and their keys are changed by the operator alone.")


ROUTES: Final = [
    get("/tenants", every),
    get("/tenants/new", new, Ability.ADMINISTER),
    post("/tenants", create, Ability.ADMINISTER),
    get("/tenants/{id}", one),
    post("/tenants/{id}/change", change, Ability.ADMINISTER),
    post("/tenants/{id}/keys", create_key, Ability.ADMINISTER),
    get("/tenants/{id}/keys/{key}/revoke", ask_to_revoke, Ability.ADMINISTER),
    post("/tenants/{id}/keys/{key}/revoke", revoke, Ability.ADMINISTER),
]
