"""What may be done to an endpoint: each says beforehand what will happen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.accept import endpoint_test
from delivery.console.endpoint_form import fault_of
from delivery.console.pages.endpoint import MOST_COUNTED
from delivery.console.pages.endpoint_edit import told_once
from delivery.console.visits import Form, get, post
from delivery.deliveries import DeliverySelection
from delivery.endpoints import MOST_LIVE_SECRETS, Endpoints
from delivery.errors import Conflict, Invalid
from delivery.model import EndpointId, EndpointState, EventId, Prefix, parse_id, show_id
from delivery.paging import Cut
from delivery.people import Ability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.routing import Route

    from delivery.console.visits import Visit
    from delivery.model import TenantId

_LONGEST_HOURS: Final = 4
_EMPTY: Final = Form({})


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do: its name in the address, what is said of it, who may do it, and the use case."""

    name: str
    title: str
    button: str
    done: str
    ability: Ability
    do: Callable[..., Awaitable[object]]
    dangerous: bool = False


_OPERATE, _ADMINISTER = Ability.OPERATE, Ability.ADMINISTER
ACTS: Final = (
    Act("pause", "Pause this endpoint", "Pause", "It is paused.", _OPERATE, Endpoints.pause),
    Act("resume", "Resume this endpoint", "Resume", "It is resumed.", _OPERATE, Endpoints.resume),
    Act("enable", "Enable this endpoint", "Enable", "It is enabled.", _OPERATE, Endpoints.enable),
    Act(
        "disable", "Disable this endpoint", "Disable", "It is disabled.", _ADMINISTER, Endpoints.disable,
        dangerous=True,
    ),
    Act(
        "delete", "Delete this endpoint", "Delete for ever", "It is deleted.", _ADMINISTER, Endpoints.delete,
        dangerous=True,
    ),
)  # fmt: skip


def possible(state: EndpointState) -> tuple[str, ...]:
    """What can be done to an endpoint in this state, the likeliest first."""
    match state:
        case EndpointState.ACTIVE:
            return ("pause", "disable", "delete")
        case EndpointState.PAUSED:
            return ("resume", "disable", "delete")
        case EndpointState.DISABLED:
            return ("enable", "delete")


def _routes(act: Act) -> tuple[Route, Route]:
    async def ask(visit: Visit) -> Response:
        return await _ask(visit, act, _EMPTY)

    async def do(visit: Visit) -> Response:
        endpoint_id, tenant_id = await _endpoint(visit)
        form, actor = await visit.form(), visit.visitor.actor
        try:
            await act.do(
                visit.uses.endpoints, tenant_id, endpoint_id, reason=form.given("reason"), actor=actor
            )
        except Invalid as error:
            return await _ask(visit, act, form, fault=error)
        except Conflict:  # somebody was faster: the page says how it stands now
            return await _ask(visit, act, form)
        if act.name == "delete":
            return visit.go("/endpoints", said=act.done)
        return visit.go(f"/endpoints/{show_id(Prefix.ENDPOINT, endpoint_id)}", said=act.done)

    path = f"/endpoints/{{id}}/{act.name}"
    return get(path, ask, act.ability), post(path, do, act.ability)


async def _ask(visit: Visit, act: Act, typed: Form, *, fault: Invalid | None = None) -> Response:
    endpoint_id, tenant_id = await _endpoint(visit)
    health = await visit.uses.endpoints.health(tenant_id, endpoint_id, most=MOST_COUNTED)
    state = health.endpoint.state
    ways = [one for one in ACTS if one.name in possible(state) and visit.may(one.ability)]
    refused = act.name not in possible(state)
    preview = None
    if act.name == "enable" and not refused:
        preview = await visit.uses.endpoints.preview_enable(tenant_id, endpoint_id, most=MOST_COUNTED)
    return visit.page(
        "endpoint_act.html",
        status=409 if refused else 200 if fault is None else 422,
        act=act,
        endpoint=health.endpoint,
        health=health,
        preview=preview,
        ways=ways if refused else None,
        typed=typed,
        faults={} if fault is None else dict([fault_of(fault)]),
    )


async def ask_rotation(visit: Visit) -> Response:
    """Say what a rotation does, and ask for how long the older secrets go on signing."""
    hours = f"{visit.uses.settings.rotation_overlap_hours:g}"
    return await _rotation(visit, Form({"overlap_hours": [hours]}))


async def rotate(visit: Visit) -> Response:
    """Make a new secret, and show it this once: on this very page, which nobody keeps."""
    endpoint_id, tenant_id = await _endpoint(visit)
    form = await visit.form()
    try:
        made = await visit.uses.endpoints.rotate_secret(
            tenant_id,
            endpoint_id,
            overlap=_hours(form.text("overlap_hours")),
            reason=form.given("reason"),
            actor=visit.visitor.actor,
        )
    except Invalid as error:
        return await _rotation(visit, form, fault=error)
    except Conflict:
        full = (
            f"is too long: {MOST_LIVE_SECRETS} secrets sign already, the most. Wait until one ends, or say 0"
        )
        return await _rotation(visit, form, fault=Invalid("overlap_hours", full))
    endpoint = await visit.uses.endpoints.read(tenant_id, endpoint_id)
    return told_once(visit, endpoint, made, created=False)


async def test(visit: Visit) -> Response:
    """Send an event to this endpoint alone, and go to its delivery."""
    endpoint_id, tenant_id = await _endpoint(visit)
    await visit.uses.endpoints.read(tenant_id, endpoint_id)
    accepted = await visit.uses.accepter.accept(
        tenant_id, [endpoint_test(endpoint_id)], single=True, only_endpoint=endpoint_id
    )
    event_id = EventId(parse_id(Prefix.EVENT, json.loads(accepted.answer)["id"]))
    page = await visit.uses.deliveries.page(tenant_id, DeliverySelection(event_id=event_id), Cut(1))
    said = "A test event is on its way."
    if not page.items:
        return visit.go(f"/endpoints/{show_id(Prefix.ENDPOINT, endpoint_id)}", said=said)
    return visit.go(f"/deliveries/{show_id(Prefix.DELIVERY, page.items[0].id)}", said=said)


async def _rotation(visit: Visit, typed: Form, *, fault: Invalid | None = None) -> Response:
    endpoint_id, tenant_id = await _endpoint(visit)
    return visit.page(
        "rotate.html",
        status=200 if fault is None else 422,
        endpoint=await visit.uses.endpoints.read(tenant_id, endpoint_id),
        secrets=await visit.uses.endpoints.secrets(tenant_id, endpoint_id),
        typed=typed,
        faults={} if fault is None else dict([fault_of(fault)]),
    )


def _hours(text: str) -> timedelta | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > _LONGEST_HOURS:
        raise Invalid("overlap_hours", "must be a whole number of hours")
    return timedelta(hours=int(text))


async def _endpoint(visit: Visit) -> tuple[EndpointId, TenantId]:
    endpoint_id = EndpointId(visit.id(Prefix.ENDPOINT))
    return endpoint_id, await visit.whose(Prefix.ENDPOINT, endpoint_id)


ROUTES: Final = [
    *(route for act in ACTS for route in _routes(act)),
    get("/endpoints/{id}/rotate", ask_rotation, Ability.SECRETS),
    post("/endpoints/{id}/rotate", rotate, Ability.SECRETS),
    post("/endpoints/{id}/test", test, Ability.OPERATE),
]
