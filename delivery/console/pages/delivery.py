"""One delivery: why it is where it is, every attempt, its event, and asking for it again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from delivery.console.curl import curl
from delivery.console.pretty import shown
from delivery.console.visits import get, post
from delivery.console.waterfall import WIDTH, bars
from delivery.model import AttemptId, DeliveryId, DeliveryStatus, EventId, Prefix, show_id
from delivery.paging import Cut
from delivery.people import Ability

if TYPE_CHECKING:
    from delivery.console.visits import Visit
    from delivery.model import Attempt, Delivery
    from delivery.tracing import DeliveryTrace

MOST_ATTEMPTS: Final = 50
# How long a page goes on looking after what was asked for here.
_SOON: Final = timedelta(minutes=2)


async def one(visit: Visit) -> Response:
    """A delivery with its trace and its attempts."""
    delivery_id = DeliveryId(visit.id(Prefix.DELIVERY))
    tenant_id = await visit.whose(Prefix.DELIVERY, delivery_id)
    trace = await visit.uses.traces.of_delivery(tenant_id, delivery_id)
    tried = await visit.uses.deliveries.attempts(tenant_id, delivery_id, Cut(MOST_ATTEMPTS))
    head, body = await visit.uses.deliveries.event(tenant_id, trace.delivery.event_id)
    names = await visit.uses.names.of(tenant_id, tenant_ids=[tenant_id] if visit.is_staff else ())
    longest = max((one.timings.total or timedelta(0) for one in tried.items), default=timedelta(0))
    return visit.page(
        "delivery.html",
        trace=trace,
        delivery=trace.delivery,
        attempts=tried.items,
        more_attempts=tried.last is not None,
        bars=lambda attempt: bars(attempt.timings, longest=longest),
        wide=WIDTH,
        event=head,
        body=None if body is None else shown(body),
        tenant_name=names.tenants.get(tenant_id),
        tone=_tone,
        follows=_follows(trace, visit),
    )


def _follows(trace: DeliveryTrace, visit: Visit) -> bool:
    """Whether something is about to happen that the page should show by itself."""
    delivery = trace.delivery
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return True
    due = delivery.due_at
    return delivery.status is DeliveryStatus.PENDING and (due is None or due <= visit.now + _SOON)


def _tone(what: str) -> str:
    """How a step of a trace looks."""
    if what in {"attempt.succeeded", "endpoint.resumed", "endpoint.enabled", "endpoint.breaker_closed"}:
        return "ok"
    if what in {"attempt.failed", "endpoint.breaker_opened", "endpoint.disabled"}:
        return "bad"
    if what in {"endpoint.paused", "endpoint.waiting", "endpoint.breaker_stayed_open"}:
        return "wait"
    if what in {"delivery.replayed", "delivery.retried", "delivery.attempted", "event.accepted"}:
        return "move"
    return ""


async def replay(visit: Visit) -> Response:
    """Send it again, and show what comes of it."""
    delivery_id = DeliveryId(visit.id(Prefix.DELIVERY))
    tenant_id = await visit.whose(Prefix.DELIVERY, delivery_id)
    form = await visit.form()
    again: Delivery = await visit.uses.deliveries.replay(
        tenant_id,
        delivery_id,
        reason=form.given("reason"),
        hold=form.ticked("hold"),
        actor=visit.visitor.actor,
    )
    said = "It is on its way again." if again.held is None else "It goes out as soon as nothing holds it."
    return visit.go(f"/deliveries/{show_id(Prefix.DELIVERY, delivery_id)}", said=said)


async def attempt(visit: Visit) -> Response:
    """One attempt with everything that went out and came back."""
    attempt_id = AttemptId(visit.id(Prefix.ATTEMPT))
    tenant_id = await visit.whose(Prefix.ATTEMPT, attempt_id)
    told = await visit.uses.deliveries.attempt(tenant_id, attempt_id)
    one: Attempt = told.attempt
    return visit.page(
        "attempt.html",
        attempt=one,
        sent=None if told.body is None else shown(told.body),
        no_body=told.no_body,
        came=None if one.status is None or one.erased_at is not None else shown(one.response_body),
        bars=bars(one.timings),
        wide=WIDTH,
        curl=curl(one, told.body),
    )


async def event(visit: Visit) -> Response:
    """One event, and why it went where it went."""
    event_id = EventId(visit.id(Prefix.EVENT))
    tenant_id = await visit.whose(Prefix.EVENT, event_id)
    head, body = await visit.uses.deliveries.event(tenant_id, event_id)
    trace = await visit.uses.traces.of_event(tenant_id, event_id)
    names = await visit.uses.names.of(tenant_id, tenant_ids=[tenant_id] if visit.is_staff else ())
    return visit.page(
        "event.html",
        event=head,
        trace=trace,
        body=None if body is None else shown(body),
        tenant_name=names.tenants.get(tenant_id),
    )


async def event_body(visit: Visit) -> Response:
    """The body of an event byte for byte, as a file."""
    event_id = EventId(visit.id(Prefix.EVENT))
    tenant_id = await visit.whose(Prefix.EVENT, event_id)
    _, body = await visit.uses.deliveries.event(tenant_id, event_id)
    name = f"{show_id(Prefix.EVENT, event_id)}.json"
    return Response(
        body or b"",
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


ROUTES: Final = [
    get("/deliveries/{id}", one),
    post("/deliveries/{id}/replay", replay, Ability.REPLAY),
    get("/attempts/{id}", attempt),
    get("/events/{id}", event),
    get("/events/{id}/body", event_body),
]
