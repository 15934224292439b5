"""Making an endpoint, and changing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console.endpoint_form import changes, fault_of, filled_in, new_endpoint
from delivery.console.visits import Form, get, post
from delivery.errors import Invalid
from delivery.model import EndpointId, Prefix, show_id
from delivery.people import Ability

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.endpoints import NewSecret
    from delivery.model import Endpoint

_EMPTY: Final = Form({})


async def new(visit: Visit) -> Response:
    """The form of a new endpoint; it belongs to the tenant that the page is narrowed to."""
    return _form(visit, None, _EMPTY)


async def create(visit: Visit) -> Response:
    """Make an endpoint, and show its secret this once."""
    form = await visit.form()
    if visit.tenant_id is None:
        return _form(visit, None, form)
    try:
        endpoint, made = await visit.uses.endpoints.create(
            visit.tenant_id, new_endpoint(form), actor=visit.visitor.actor
        )
    except Invalid as error:
        return _form(visit, None, form, fault=error)
    return told_once(visit, endpoint, made, created=True)


async def edit(visit: Visit) -> Response:
    """The form of an endpoint as it is."""
    endpoint = await _endpoint(visit)
    return _form(visit, endpoint, Form(filled_in(endpoint)))


async def change(visit: Visit) -> Response:
    """Change an endpoint."""
    endpoint, form = await _endpoint(visit), await visit.form()
    try:
        await visit.uses.endpoints.change(
            endpoint.tenant_id,
            endpoint.id,
            changes(form),
            reason=form.given("reason"),
            actor=visit.visitor.actor,
        )
    except Invalid as error:
        return _form(visit, endpoint, form, fault=error)
    return visit.go(f"/endpoints/{show_id(Prefix.ENDPOINT, endpoint.id)}", said="It is changed.")


def told_once(visit: Visit, endpoint: Endpoint, made: NewSecret, *, created: bool) -> Response:
    """A new secret, on a page that nobody keeps."""
    answer = visit.page("secret.html", endpoint=endpoint, made=made, created=created)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _form(visit: Visit, endpoint: Endpoint | None, typed: Form, *, fault: Invalid | None = None) -> Response:
    answer = visit.page(
        "endpoint_edit.html",
        status=200 if fault is None else 422,
        endpoint=endpoint,
        typed=typed,
        faults={} if fault is None else dict([fault_of(fault)]),
        settings=visit.uses.settings,
    )
    answer.headers["Cache-Control"] = "no-store"  # headers as they were typed may be on it
    return answer


async def _endpoint(visit: Visit) -> Endpoint:
    endpoint_id = EndpointId(visit.id(Prefix.ENDPOINT))
    tenant_id = await visit.whose(Prefix.ENDPOINT, endpoint_id)
    return await visit.uses.endpoints.read(tenant_id, endpoint_id)


ROUTES: Final = [
    get("/endpoints/new", new, Ability.ADMINISTER),
    post("/endpoints/new", create, Ability.ADMINISTER),
    get("/endpoints/{id}/edit", edit, Ability.ADMINISTER),
    post("/endpoints/{id}/edit", change, Ability.ADMINISTER),
]
