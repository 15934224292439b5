"""Actions on an endpoint, each with a confirmation page that explains the effect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.console.forms.endpoint import describe_field_error
from delivery.console.forms.fields import parse_whole_number
from delivery.console.pages.endpoint import MAX_COUNTED, resolve_endpoint
from delivery.console.pages.endpoint_edit import render_secret_once
from delivery.console.web.context import EMPTY_FORM, Form, make_get_route, make_post_route
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointState
from delivery.domain.errors import Conflict, Invalid
from delivery.domain.ids import EventId, Prefix, format_id, parse_id
from delivery.domain.pagination import PageRequest
from delivery.domain.setting_parsers import HOUR
from delivery.pipeline.parsing import build_test_event
from delivery.services.accounts.roles import Ability
from delivery.services.endpoints.service import MAX_LIVE_SECRETS, EndpointService

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.routing import Route

    from delivery.console.web.context import RequestContext

_MAX_HOURS_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class EndpointAction:
    """An action on an endpoint: its name in the URL, its texts, the required ability, and the use case."""

    name: str
    button: str
    done_message: str
    ability: Ability
    run: Callable[..., Awaitable[object]]
    is_dangerous: bool = False

    @property
    def title(self) -> str:
        """The page title: `Pause this endpoint`."""
        return f"{self.name.capitalize()} this endpoint"


_OPERATE, _ADMINISTER = Ability.OPERATE, Ability.ADMINISTER
ENDPOINT_ACTIONS: Final = (
    EndpointAction("pause", "Pause", "Endpoint paused.", _OPERATE, EndpointService.pause),
    EndpointAction("resume", "Resume", "Endpoint resumed.", _OPERATE, EndpointService.resume),
    EndpointAction("enable", "Enable", "Endpoint enabled.", _OPERATE, EndpointService.enable),
    EndpointAction(
        "disable", "Disable", "Endpoint disabled.", _ADMINISTER, EndpointService.disable, is_dangerous=True
    ),
    EndpointAction(
        "delete",
        "Delete permanently",
        "Endpoint deleted.",
        _ADMINISTER,
        EndpointService.delete,
        is_dangerous=True,
    ),
)


def list_allowed_actions(state: EndpointState) -> tuple[str, ...]:
    """List the actions allowed in this state, the most likely first."""
    match state:
        case EndpointState.ACTIVE:
            return ("pause", "disable", "delete")
        case EndpointState.PAUSED:
            return ("resume", "disable", "delete")
        case EndpointState.DISABLED:
            return ("enable", "delete")


def _make_routes(action: EndpointAction) -> tuple[Route, Route]:
    async def ask(ctx: RequestContext) -> Response:
        return await _render_confirmation(ctx, action, EMPTY_FORM)

    async def do(ctx: RequestContext) -> Response:
        endpoint_id, tenant_id = await resolve_endpoint(ctx)
        form, actor = await ctx.read_form(), ctx.principal.actor
        try:
            await action.run(
                ctx.services.endpoints,
                tenant_id,
                endpoint_id,
                reason=form.get_optional("reason"),
                actor=actor,
            )
        except Invalid as error:
            return await _render_confirmation(ctx, action, form, error=error)
        except Conflict:  # somebody was faster: the page says how it stands now
            return await _render_confirmation(ctx, action, form)
        if action.name == "delete":
            return ctx.redirect("/endpoints", flash=action.done_message)
        return ctx.redirect(
            f"/endpoints/{format_id(Prefix.ENDPOINT, endpoint_id)}", flash=action.done_message
        )

    path = f"/endpoints/{{id}}/{action.name}"
    return make_get_route(path, ask, action.ability), make_post_route(path, do, action.ability)


async def _render_confirmation(
    ctx: RequestContext, action: EndpointAction, form_input: Form, *, error: Invalid | None = None
) -> Response:
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    health = await ctx.services.endpoints.read_health(tenant_id, endpoint_id, limit=MAX_COUNTED)
    state = health.endpoint.state
    others = [
        one
        for one in ENDPOINT_ACTIONS
        if one.name in list_allowed_actions(state) and ctx.has_ability(one.ability)
    ]
    is_refused = action.name not in list_allowed_actions(state)
    preview = None
    if action.name == "enable" and not is_refused:
        preview = await ctx.services.endpoints.preview_enable(tenant_id, endpoint_id, limit=MAX_COUNTED)
    return ctx.render_page(
        "endpoint_act.html",
        status=409 if is_refused else 200 if error is None else 422,
        action=action,
        endpoint=health.endpoint,
        health=health,
        preview=preview,
        other_actions=others if is_refused else None,
        form_input=form_input,
        errors={} if error is None else dict([describe_field_error(error)]),
    )


async def show_rotation(ctx: RequestContext) -> Response:
    """Explain a rotation and ask how long the older secrets keep signing."""
    hours = f"{ctx.services.settings.rotation_overlap / HOUR:g}"
    return await _render_rotation(ctx, Form({"overlap_hours": [hours]}))


async def rotate_secret(ctx: RequestContext) -> Response:
    """Create a new secret and show it once, on this uncached response."""
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    form = await ctx.read_form()
    try:
        secret = await ctx.services.endpoints.rotate_secret(
            tenant_id,
            endpoint_id,
            overlap=_parse_hours(form.get_text("overlap_hours")),
            reason=form.get_optional("reason"),
            actor=ctx.principal.actor,
        )
    except Invalid as error:
        return await _render_rotation(ctx, form, error=error)
    except Conflict:
        error_text = (
            f"is too long: {MAX_LIVE_SECRETS} secrets sign already, the maximum. "
            "Wait until one expires, or enter 0"
        )
        return await _render_rotation(ctx, form, error=Invalid("overlap_hours", error_text))
    endpoint = await ctx.services.endpoints.read(tenant_id, endpoint_id)
    return render_secret_once(ctx, endpoint, secret, is_new=False)


async def send_test_event(ctx: RequestContext) -> Response:
    """Send a test event to this endpoint only and redirect to its delivery."""
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    await ctx.services.endpoints.read(tenant_id, endpoint_id)
    accepted = await ctx.services.intake.accept_events(
        tenant_id, [build_test_event(endpoint_id)], single=True, only_endpoint_id=endpoint_id
    )
    event_id = EventId(parse_id(Prefix.EVENT, json.loads(accepted.response_body)["id"]))
    page = await ctx.services.deliveries.list_deliveries(
        tenant_id, DeliveryFilter(event_id=event_id), PageRequest(1)
    )
    flash = "A test event is on its way."
    if not page.items:
        return ctx.redirect(f"/endpoints/{format_id(Prefix.ENDPOINT, endpoint_id)}", flash=flash)
    return ctx.redirect(f"/deliveries/{format_id(Prefix.DELIVERY, page.items[0].id)}", flash=flash)


async def _render_rotation(
    ctx: RequestContext, form_input: Form, *, error: Invalid | None = None
) -> Response:
    endpoint_id, tenant_id = await resolve_endpoint(ctx)
    return ctx.render_page(
        "rotate.html",
        status=200 if error is None else 422,
        endpoint=await ctx.services.endpoints.read(tenant_id, endpoint_id),
        secrets=await ctx.services.endpoints.list_secrets(tenant_id, endpoint_id),
        form_input=form_input,
        errors={} if error is None else dict([describe_field_error(error)]),
    )


def _parse_hours(text: str) -> timedelta | None:
    hours = parse_whole_number(
        text, "overlap_hours", "must be a whole number of hours", max_digits=_MAX_HOURS_DIGITS
    )
    return None if hours is None else timedelta(hours=hours)


ROUTES: Final = [
    *(route for act in ENDPOINT_ACTIONS for route in _make_routes(act)),
    make_get_route("/endpoints/{id}/rotate", show_rotation, Ability.SECRETS),
    make_post_route("/endpoints/{id}/rotate", rotate_secret, Ability.SECRETS),
    make_post_route("/endpoints/{id}/test", send_test_event, Ability.OPERATE),
]
