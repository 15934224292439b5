"""Trying a filter out: would an event be owed to this endpoint, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from delivery.accept import parse_event
from delivery.console.endpoint_form import fault_of, filled_in, wanted
from delivery.console.visits import Form, get, post
from delivery.errors import Invalid, MalformedId, NotFound, TooLarge
from delivery.model import EndpointId, EventId, Prefix, parse_id
from delivery.people import Ability

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.accept import NewEvent
    from delivery.console.visits import Visit
    from delivery.endpoints import Trial
    from delivery.model import Endpoint

# What is said of the event, and where it was typed.
_TYPED_AT: Final = {"event.type": "type", "event.data": "data", "event": "data", "event.channels": "on"}


async def ask(visit: Visit) -> Response:
    """The form, with what the endpoint asks for now."""
    endpoint = await _endpoint(visit)
    return _page(visit, endpoint, Form(filled_in(endpoint)))


async def answer(visit: Visit) -> Response:
    """The same form, and what came of it."""
    endpoint, form = await _endpoint(visit), await visit.form()
    try:
        about = _about(visit, form)
        found = await visit.uses.endpoints.try_filter(
            endpoint.tenant_id, endpoint.id, about, instead=wanted(form)
        )
    except (Invalid, NotFound, TooLarge) as error:
        return _page(visit, endpoint, form, faults=dict([_fault(error)]))
    return _page(visit, endpoint, form, found=found)


def _about(visit: Visit, form: Form) -> NewEvent | EventId:
    if past := form.text("event_id"):
        try:
            return EventId(parse_id(Prefix.EVENT, past))
        except MalformedId:
            raise Invalid("event_id", "is not the id of an event: evt_…") from None
    data = form.raw("data").strip().encode(errors="replace")
    event = {"type": form.text("type"), "channels": form.raw("on").split(), "data": msgspec.Raw(data)}
    # Read alone first: what is typed as data could add fields.
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid("event.data", f"is not JSON: {error}") from None
    return parse_event(msgspec.json.encode(event), visit.uses.accepter.limits, at="event")


def _fault(error: Invalid | NotFound | TooLarge) -> tuple[str, str]:
    match error:
        case NotFound():
            return "event_id", "There is no such event of this tenant."
        case TooLarge():
            return "data", str(error)
        case _:
            name = error.field if error.field in _TYPED_AT else error.field.rpartition(".")[0]
            if name not in _TYPED_AT:
                return fault_of(error)
            return _TYPED_AT[name], error.why if error.why[0].isupper() else f"It {error.why}"


def _page(
    visit: Visit,
    endpoint: Endpoint,
    typed: Form,
    *,
    found: Trial | None = None,
    faults: dict[str, str] | None = None,
) -> Response:
    return visit.page(
        "filter_test.html",
        status=422 if faults else 200,
        endpoint=endpoint,
        typed=typed,
        found=found,
        faults=faults or {},
    )


async def _endpoint(visit: Visit) -> Endpoint:
    endpoint_id = EndpointId(visit.id(Prefix.ENDPOINT))
    tenant_id = await visit.whose(Prefix.ENDPOINT, endpoint_id)
    return await visit.uses.endpoints.read(tenant_id, endpoint_id)


ROUTES: Final = [
    get("/endpoints/{id}/filter-test", ask),
    post("/endpoints/{id}/filter-test", answer, Ability.SEE),
]
