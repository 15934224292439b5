"""One delivery: its timeline, attempts and event, and its replay; also attempts and events alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from delivery.console.views.body import format_body
from delivery.console.views.curl import build_curl_command
from delivery.console.views.waterfall import WIDTH, build_bars
from delivery.console.web.context import make_get_route, make_post_route
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import AttemptId, DeliveryId, EventId, Prefix, format_id
from delivery.domain.pagination import PageRequest
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from delivery.console.web.context import RequestContext
    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import Delivery
    from delivery.services.timeline.delivery_entries import DeliveryTimeline

MAX_ATTEMPTS: Final = 50
# The page refreshes itself while something is due within this time.
_AUTO_REFRESH_WINDOW: Final = timedelta(minutes=2)


async def show_delivery(ctx: RequestContext) -> Response:
    """Show a delivery with its timeline and its attempts."""
    delivery_id = DeliveryId(ctx.parse_path_id(Prefix.DELIVERY))
    tenant_id = await ctx.find_owner(Prefix.DELIVERY, delivery_id)
    trace = await ctx.services.timelines.load_delivery_timeline(tenant_id, delivery_id)
    attempts = await ctx.services.deliveries.list_attempts(tenant_id, delivery_id, PageRequest(MAX_ATTEMPTS))
    event, body = await ctx.services.deliveries.read_event(tenant_id, trace.delivery.event_id)
    names = await ctx.services.lookups.load_labels(tenant_id, tenant_ids=[tenant_id] if ctx.is_staff else ())
    longest = max((one.timings.total or timedelta(0) for one in attempts.items), default=timedelta(0))
    return ctx.render_page(
        "delivery.html",
        trace=trace,
        delivery=trace.delivery,
        attempts=attempts.items,
        more_attempts=attempts.next_cursor is not None,
        bars=lambda attempt: build_bars(attempt.timings, scale=longest),
        waterfall_width=WIDTH,
        event=event,
        body=None if body is None else format_body(body),
        tenant_name=names.tenant_names.get(tenant_id),
        get_step_tone=_get_step_tone,
        auto_refresh=_should_refresh(trace, ctx),
    )


def _should_refresh(trace: DeliveryTimeline, ctx: RequestContext) -> bool:
    """Whether the delivery may change soon, so that the page should refresh itself."""
    delivery = trace.delivery
    if delivery.status is DeliveryStatus.IN_FLIGHT:
        return True
    due = delivery.due_at
    return delivery.status is DeliveryStatus.PENDING and (
        due is None or due <= ctx.now + _AUTO_REFRESH_WINDOW
    )


def _get_step_tone(what: str) -> str:
    """The colour class of a timeline step."""
    if what in {"attempt.succeeded", "endpoint.resumed", "endpoint.enabled", "endpoint.breaker_closed"}:
        return "ok"
    if what in {"attempt.failed", "endpoint.breaker_opened", "endpoint.disabled"}:
        return "bad"
    if what in {"endpoint.paused", "endpoint.waiting", "endpoint.breaker_stayed_open"}:
        return "wait"
    if what in {"delivery.replayed", "delivery.retried", "delivery.attempted", "event.accepted"}:
        return "move"
    return ""


async def replay_delivery(ctx: RequestContext) -> Response:
    """Replay a delivery and redirect to its page."""
    delivery_id = DeliveryId(ctx.parse_path_id(Prefix.DELIVERY))
    tenant_id = await ctx.find_owner(Prefix.DELIVERY, delivery_id)
    form = await ctx.read_form()
    delivery: Delivery = await ctx.services.deliveries.replay(
        tenant_id,
        delivery_id,
        reason=form.get_optional("reason"),
        hold=form.is_checked("hold"),
        actor=ctx.principal.actor,
    )
    flash = (
        "The replay is queued."
        if delivery.held is None
        else "The replay is queued; it is sent when nothing holds it any more."
    )
    return ctx.redirect(f"/deliveries/{format_id(Prefix.DELIVERY, delivery_id)}", flash=flash)


async def show_attempt(ctx: RequestContext) -> Response:
    """Show one attempt with its request and response."""
    attempt_id = AttemptId(ctx.parse_path_id(Prefix.ATTEMPT))
    tenant_id = await ctx.find_owner(Prefix.ATTEMPT, attempt_id)
    details = await ctx.services.deliveries.read_attempt(tenant_id, attempt_id)
    attempt: Attempt = details.attempt
    return ctx.render_page(
        "attempt.html",
        attempt=attempt,
        request_body=None if details.body is None else format_body(details.body),
        body_unavailable=details.body_unavailable,
        response_body=None
        if attempt.status is None or attempt.erased_at is not None
        else format_body(attempt.response_body),
        bars=build_bars(attempt.timings),
        waterfall_width=WIDTH,
        curl_command=build_curl_command(attempt, details.body),
    )


async def show_event(ctx: RequestContext) -> Response:
    """Show one event and why each endpoint received it or not."""
    event_id = EventId(ctx.parse_path_id(Prefix.EVENT))
    tenant_id = await ctx.find_owner(Prefix.EVENT, event_id)
    event, body = await ctx.services.deliveries.read_event(tenant_id, event_id)
    trace = await ctx.services.timelines.load_event_timeline(tenant_id, event_id)
    names = await ctx.services.lookups.load_labels(tenant_id, tenant_ids=[tenant_id] if ctx.is_staff else ())
    return ctx.render_page(
        "event.html",
        event=event,
        trace=trace,
        body=None if body is None else format_body(body),
        tenant_name=names.tenant_names.get(tenant_id),
    )


async def download_event_body(ctx: RequestContext) -> Response:
    """Download the raw body of an event."""
    event_id = EventId(ctx.parse_path_id(Prefix.EVENT))
    tenant_id = await ctx.find_owner(Prefix.EVENT, event_id)
    _, body = await ctx.services.deliveries.read_event(tenant_id, event_id)
    name = f"{format_id(Prefix.EVENT, event_id)}.json"
    return Response(
        body or b"",
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


ROUTES: Final = [
    make_get_route("/deliveries/{id}", show_delivery),
    make_post_route("/deliveries/{id}/replay", replay_delivery, Ability.REPLAY),
    make_get_route("/attempts/{id}", show_attempt),
    make_get_route("/events/{id}", show_event),
    make_get_route("/events/{id}/body", download_event_body),
]
