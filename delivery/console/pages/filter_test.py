"""Test a filter: would this endpoint receive an event, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from delivery.console.forms.endpoint import build_form_values, describe_field_error, parse_subscription
from delivery.console.pages.endpoint import load_endpoint
from delivery.console.web.context import Form, make_get_route, make_post_route
from delivery.domain.errors import Invalid, MalformedId, NotFound, TooLarge
from delivery.domain.ids import EventId, Prefix, parse_id
from delivery.pipeline.parsing import parse_event
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.endpoint import Endpoint
    from delivery.pipeline.parsing import NewEvent
    from delivery.services.endpoints.filter_test import FilterTrial

# From the field of a parse error to the form field in which it was entered.
_ERROR_FIELDS: Final = {"event.type": "type", "event.data": "data", "event": "data", "event.channels": "on"}


async def show_form(ctx: RequestContext) -> Response:
    """Show the form with the endpoint's current subscription."""
    endpoint = await load_endpoint(ctx)
    return _render_page(ctx, endpoint, Form(build_form_values(endpoint)))


async def try_filter(ctx: RequestContext) -> Response:
    """Show the form with the result."""
    endpoint, form = await load_endpoint(ctx), await ctx.read_form()
    try:
        event = _parse_event(ctx, form)
        trial = await ctx.services.endpoints.try_filter(
            endpoint.tenant_id, endpoint.id, event, overrides=parse_subscription(form)
        )
    except (Invalid, NotFound, TooLarge) as error:
        return _render_page(ctx, endpoint, form, errors=dict([_describe_error(error)]))
    return _render_page(ctx, endpoint, form, trial=trial)


def _parse_event(ctx: RequestContext, form: Form) -> NewEvent | EventId:
    if event_id := form.get_text("event_id"):
        try:
            return EventId(parse_id(Prefix.EVENT, event_id))
        except MalformedId:
            raise Invalid("event_id", "is not an event id: evt_…") from None
    data = form.get_raw("data").strip().encode(errors="replace")
    event = {"type": form.get_text("type"), "channels": form.get_raw("on").split(), "data": msgspec.Raw(data)}
    # Parsed by itself first: the input could otherwise add fields to the event.
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid("event.data", f"is not JSON: {error}") from None
    return parse_event(msgspec.json.encode(event), ctx.services.intake.limits, location="event")


def _describe_error(error: Invalid | NotFound | TooLarge) -> tuple[str, str]:
    match error:
        case NotFound():
            return "event_id", "This tenant has no such event."
        case TooLarge():
            return "data", str(error)
        case _:
            name = error.field if error.field in _ERROR_FIELDS else error.field.rpartition(".")[0]
            if name not in _ERROR_FIELDS:
                return describe_field_error(error)
            return _ERROR_FIELDS[name], error.why if error.why[0].isupper() else f"It {error.why}"


def _render_page(
    ctx: RequestContext,
    endpoint: Endpoint,
    form_input: Form,
    *,
    trial: FilterTrial | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    return ctx.render_page(
        "filter_test.html",
        status=422 if errors else 200,
        endpoint=endpoint,
        form_input=form_input,
        trial=trial,
        errors=errors or {},
    )


ROUTES: Final = [
    make_get_route("/endpoints/{id}/filter-test", show_form),
    make_post_route("/endpoints/{id}/filter-test", try_filter, Ability.SEE),
]
