"""What may be done to an endpoint: each says beforehand what will happen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.accept import endpoint_test
from delivery.console.visits import get, post
from delivery.deliveries import DeliverySelection
from delivery.endpoints import Endpoints
from delivery.errors import Conflict, Invalid
from delivery.model import EndpointId, EndpointState, Prefix, show_id
from delivery.paging import Cut
from delivery.people import Ability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.routing import Route

    from delivery.console.visits import Visit
    from delivery.model import TenantId

_LONGEST_HOURS: Final = 4


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
        endpoint_id, tenant_id = await _endpoint(visit)
        health = await visit.uses.endpoints.health(tenant_id, endpoint_id)
        if act.name not in possible(health.endpoint.state):
            raise Conflict(f"The endpoint is {health.endpoint.state}: this has no use now")
        preview = None
        if act.name == "enable":
            preview = await visit.uses.endpoints.preview_enable(tenant_id, endpoint_id)
        return visit.page(
            "endpoint_act.html", act=act, endpoint=health.endpoint, health=health, preview=preview
        )

    async def do(visit: Visit) -> Response:
        endpoint_id, tenant_id = await _endpoint(visit)
        reason = (await visit.form()).given("reason")
        await act.do(visit.uses.endpoints, tenant_id, endpoint_id, reason=reason, actor=visit.visitor.actor)
        if act.name == "delete":
            return visit.go("/endpoints", said=act.done)
        return visit.go(f"/endpoints/{show_id(Prefix.ENDPOINT, endpoint_id)}", said=act.done)

    path = f"/endpoints/{{id}}/{act.name}"
    return get(path, ask, act.ability), post(path, do, act.ability)


async def ask_rotation(visit: Visit) -> Response:
    """Say what a rotation does, and ask for how long the older secrets go on signing."""
    return await _rotation(visit)


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
        return await _rotation(visit, fault=error)
    endpoint = await visit.uses.endpoints.read(tenant_id, endpoint_id)
    return visit.page("secret.html", endpoint=endpoint, made=made, created=False)


async def test(visit: Visit) -> Response:
    """Send an event to this endpoint alone, and go to its delivery."""
    endpoint_id, tenant_id = await _endpoint(visit)
    await visit.uses.endpoints.read(tenant_id, endpoint_id)
    await visit.uses.accepter.accept(
        tenant_id, [endpoint_test(endpoint_id)], single=True, only_endpoint=endpoint_id
    )
    newest = DeliverySelection(endpoints=(endpoint_id,), types=("waybill.test",))
    page = await visit.uses.deliveries.page(tenant_id, newest, Cut(1))
    said = "A test event is on its way."
    if not page.items:
        return visit.go(f"/endpoints/{show_id(Prefix.ENDPOINT, endpoint_id)}", said=said)
    return visit.go(f"/deliveries/{show_id(Prefix.DELIVERY, page.items[0].id)}", said=said)


async def _rotation(visit: Visit, *, fault: Invalid | None = None) -> Response:
    endpoint_id, tenant_id = await _endpoint(visit)
    return visit.page(
        "rotate.html",
        status=200 if fault is None else 422,
        endpoint=await visit.uses.endpoints.read(tenant_id, endpoint_id),
        secrets=await visit.uses.endpoints.secrets(tenant_id, endpoint_id),
        hours=f"{visit.uses.settings.rotation_overlap_hours:g}",
        faults={} if fault is None else {fault.field: fault.why},
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
