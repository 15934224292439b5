"""A tenant's keys: made, rotated, ended. Where a tenant is shown, they are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.console.pages.tenants import Shown, page_of, refuse_unless_staff, theirs
from delivery.console.visits import get, post
from delivery.errors import Conflict, Invalid
from delivery.keys import NewKey
from delivery.model import KeyId, Prefix, show_id
from delivery.people import Ability
from delivery.scopes import OF_TENANTS, Scope

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Form, Visit
    from delivery.keys import MadeKey
    from delivery.model import ApiKey, Tenant, TenantId

_MOST_DIGITS: Final = 6


async def create(visit: Visit) -> Response:
    """Make a key, and show it this once."""
    refuse_unless_staff(visit)
    tenant_id = theirs(visit)
    form = await visit.form()
    try:
        made = await visit.uses.keys.create(tenant_id, _asked(form), actor=visit.visitor.actor)
    except Invalid as error:
        return await page_of(visit, tenant_id, Shown("key", form, {error.field: error.why}))
    return await _told(visit, tenant_id, made)


async def ask_to_rotate(visit: Visit) -> Response:
    """Say what comes of a rotation."""
    refuse_unless_staff(visit)
    tenant, key = await _key(visit)
    return _rotation(visit, tenant, key)


async def rotate(visit: Visit) -> Response:
    """Put another key in the place of this one, and show it this once."""
    refuse_unless_staff(visit)
    tenant, key = await _key(visit)
    form = await visit.form()
    try:
        made = await visit.uses.keys.rotate(
            tenant.id,
            key.id,
            overlap=_hours(form),
            reason=form.given("reason"),
            actor=visit.visitor.actor,
        )
    except Invalid as error:
        return _rotation(visit, tenant, key, typed=form, faults={error.field: error.why})
    except Conflict as error:
        return _rotation(visit, tenant, key, faults={"overlap_hours": str(error)})
    return await _told(visit, tenant.id, made)


async def ask_to_revoke(visit: Visit) -> Response:
    """Say what stops working when a key is revoked."""
    refuse_unless_staff(visit)
    tenant, key = await _key(visit)
    return visit.page("key_revoke.html", tenant=tenant, key=key)


async def revoke(visit: Visit) -> Response:
    """End a key."""
    refuse_unless_staff(visit)
    tenant_id = theirs(visit)
    key_id = KeyId(visit.id(Prefix.KEY, "key"))
    reason = (await visit.form()).given("reason")
    await visit.uses.keys.revoke(tenant_id, key_id, reason=reason, actor=visit.visitor.actor)
    said = "The key is revoked: within five seconds nothing takes it any more."
    return visit.go(f"/tenants/{show_id(Prefix.TENANT, tenant_id)}", said=said)


def _asked(form: Form) -> NewKey:
    """The key that a form asks for; raises Invalid."""
    days = form.text("expires_in_days")
    if days and not _is_whole(days):
        raise Invalid("expires_in_seconds", "must be a whole number of days, or empty")
    given = form.many("scope")
    if not set(given) <= set(OF_TENANTS):
        raise Invalid("scopes", "are not among those of this form")
    return NewKey(
        form.text("name"),
        scopes=[Scope(name) for name in given],
        lasts=timedelta(days=int(days)) if days else None,
    )


def _hours(form: Form) -> timedelta | None:
    hours = form.text("overlap_hours")
    if hours and not _is_whole(hours):
        raise Invalid("overlap_hours", "must be a whole number of hours, or empty")
    return timedelta(hours=int(hours)) if hours else None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _rotation(
    visit: Visit,
    tenant: Tenant,
    key: ApiKey,
    *,
    typed: Form | None = None,
    faults: dict[str, str] | None = None,
) -> Response:
    return visit.page(
        "key_rotate.html",
        status=422 if faults else 200,
        tenant=tenant,
        key=key,
        hours=visit.uses.settings.rotation_overlap_hours,
        typed=typed,
        faults=faults or {},
    )


async def _told(visit: Visit, tenant_id: TenantId, made: MadeKey) -> Response:
    answer = visit.page(
        "key_made.html", tenant=await visit.uses.tenants.read(tenant_id), made=made, key=made.kept
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _key(visit: Visit) -> tuple[Tenant, ApiKey]:
    tenant_id = theirs(visit)
    key = await visit.uses.keys.read(tenant_id, KeyId(visit.id(Prefix.KEY, "key")))
    return await visit.uses.tenants.read(tenant_id), key


ROUTES: Final = [
    post("/tenants/{id}/keys", create, Ability.ADMINISTER),
    get("/tenants/{id}/keys/{key}/rotate", ask_to_rotate, Ability.ADMINISTER),
    post("/tenants/{id}/keys/{key}/rotate", rotate, Ability.ADMINISTER),
    get("/tenants/{id}/keys/{key}/revoke", ask_to_revoke, Ability.ADMINISTER),
    post("/tenants/{id}/keys/{key}/revoke", revoke, Ability.ADMINISTER),
]
