"""Start a replay: preview a search's results, then give a reason and a rate; or recover an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse

from delivery.console.forms.delivery_filter import PERIODS
from delivery.console.forms.replay import MISSING, parse_new_replay, parse_replay_input
from delivery.console.views.replay_progress import describe_effect, describe_limit
from delivery.console.views.selection import describe_selection
from delivery.console.web.context import TENANT_PARAM, FormState, make_get_route, make_post_route
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.durations import parse_time
from delivery.domain.errors import Conflict, Invalid, NotFound
from delivery.domain.ids import EndpointId, Prefix, format_id
from delivery.domain.pagination import PageRequest
from delivery.domain.replay import MissingEventFilter
from delivery.domain.validation import validating_field
from delivery.services.accounts.roles import Ability
from delivery.services.replays.validation import NewReplay

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.forms.replay import ReplayFormInput
    from delivery.console.web.context import Form, RequestContext
    from delivery.domain.ids import TenantId
    from delivery.services.replays.validation import ReplayPreview

# Deliveries that are scanned for their tenants, and tenants offered if none were found.
_MAX_SCANNED: Final = 200
_MAX_TENANTS: Final = 50
_EVERYTHING_ERROR: Final = "must be ticked: without a filter this selects every delivery of the tenant"
_HOLD_ERROR: Final = "must be ticked, or resume the endpoint first: it is paused or disabled"
_MINUTE_FORMAT: Final = "%Y-%m-%dT%H:%M"
_FIELD_ERRORS: Final = {"reason": "is required: it is recorded in the audit"}


async def show_preview(ctx: RequestContext) -> Response:
    """Show what a replay of this search would send; the page loads first and then requests the counts."""
    replay_input = parse_replay_input(ctx.query, now=ctx.now)
    if replay_input.selection is not None and ctx.tenant_id is None:
        return await _choose_tenant(ctx, replay_input)
    state = FormState(form_input=ctx.query, status=422 if replay_input.errors else 200)
    return await _render_page(ctx, replay_input, state, with_preview=ctx.query.is_checked("weighed"))


async def start_replay(ctx: RequestContext) -> Response:
    """Start the replay and redirect to its page."""
    form = await ctx.read_form()
    replay_input = parse_replay_input(form, now=ctx.now)
    if replay_input.selection is None:
        return await _render_page(ctx, replay_input, FormState("start", form, status=422))
    if ctx.tenant_id is None:
        return await _choose_tenant(ctx, replay_input)
    try:
        new = _parse_replay(form, replay_input.selection, everything=replay_input.is_unbounded)
        replay = await ctx.services.replays.create(
            ctx.tenant_id, new, operator=_may_replay_everything(ctx), actor=ctx.principal.actor
        )
    except Invalid as error:
        return await _render_page(ctx, replay_input, FormState("start", form, {error.field: error.why}, 422))
    except Conflict:
        return await _render_page(ctx, replay_input, FormState("start", form, {"hold": _HOLD_ERROR}, 409))
    return ctx.redirect(f"/replays/{format_id(Prefix.REPLAY, replay.id)}", flash="Replay started.")


def _parse_replay(
    form: Form, selection: DeliveryFilter | MissingEventFilter, *, everything: bool
) -> NewReplay:
    """Parse the replay from the form; raises Invalid with the form's field name."""
    if not form.get_text("reason"):
        raise Invalid("reason", _FIELD_ERRORS["reason"])
    if everything and not form.is_checked("everything"):
        raise Invalid("everything", _EVERYTHING_ERROR)
    return parse_new_replay(form, selection)


def _may_replay_everything(ctx: RequestContext) -> bool:
    """Whether the user may replay a tenant's deliveries without any filter."""
    return ctx.is_staff and ctx.has_ability(Ability.ADMINISTER)


async def _render_page(
    ctx: RequestContext, replay_input: ReplayFormInput, state: FormState, *, with_preview: bool = True
) -> Response:
    is_forbidden = replay_input.is_unbounded and not _may_replay_everything(ctx)
    preview = None
    if with_preview and not is_forbidden and replay_input.selection is not None:
        preview = await _load_preview(ctx, replay_input)
    if ctx.is_staff and ctx.tenant_id is not None:
        await ctx.services.tenants.read(ctx.tenant_id)  # one that there is not has nothing to send
    return ctx.render_page(
        "replay_new.html",
        status=state.status,
        replay_input=replay_input,
        selection_facts=[] if replay_input.selection is None else describe_selection(replay_input.selection),
        hidden_fields=replay_input.build_hidden_fields(ctx.now),
        preview=preview,
        endpoint_effects=[] if preview is None else _describe_endpoints(replay_input, preview),
        is_forbidden=is_forbidden,
        form_input=state.form_input,
        errors=state.errors,
    )


async def _load_preview(ctx: RequestContext, replay_input: ReplayFormInput) -> ReplayPreview | None:
    if replay_input.selection is None or ctx.tenant_id is None:
        return None
    new = NewReplay(replay_input.selection, "a look at what it would send", everything=True)
    return await ctx.services.replays.preview(ctx.tenant_id, new, operator=_may_replay_everything(ctx))


def _describe_endpoints(replay_input: ReplayFormInput, preview: ReplayPreview) -> list[dict[str, object]]:
    named_count = len(replay_input.filters.values.get("endpoint", ()))
    return [
        {
            "endpoint": endpoint,
            "effect": describe_effect(endpoint, held, is_named=place < named_count),
            "limit": describe_limit(endpoint, count=preview.count if named_count == 1 else None),
        }
        for place, (endpoint, held) in enumerate(preview.endpoints)
    ]


# ------------------------------------------------------------------ choice of the tenant
async def _choose_tenant(ctx: RequestContext, replay_input: ReplayFormInput) -> Response:
    """Let staff choose the tenant, since a replay covers exactly one."""
    counts = await _count_by_tenant(ctx, replay_input)
    if len(counts) == 1 and replay_input.filters.values.get("endpoint"):
        only = format_id(Prefix.TENANT, next(iter(counts)))
        return RedirectResponse(
            ctx.link("/replays/new", **replay_input.query_params, **{TENANT_PARAM: only}), 303
        )
    names = (await ctx.services.lookups.load_labels(ctx.tenant_id, tenant_ids=counts)).tenant_names
    tenants = [(id_, names.get(id_, ""), count) for id_, count in counts.items()]
    if not tenants:
        page = await ctx.services.tenants.list_tenants(PageRequest(_MAX_TENANTS))
        tenants = [(one.id, one.name, 0) for one in page.items]
    return ctx.render_page(
        "replay_tenant.html", replay_input=replay_input, tenants=tenants, max_scanned=_MAX_SCANNED
    )


async def _count_by_tenant(ctx: RequestContext, replay_input: ReplayFormInput) -> dict[TenantId, int]:
    """Count the newest matches by tenant, largest first; empty if the search would be too expensive."""
    match replay_input.selection:
        case MissingEventFilter(endpoint_id=endpoint_id):
            return {await ctx.find_owner(Prefix.ENDPOINT, endpoint_id): 0}
        case DeliveryFilter(endpoints=endpoints) if endpoints:
            return {await ctx.find_owner(Prefix.ENDPOINT, id_): 0 for id_ in endpoints}
    expensive = replay_input.filters.values.keys() & {"held_by", "idempotency_key", "payload"}
    if expensive or replay_input.filters.selection is None:
        return {}
    page = await ctx.services.deliveries.list_deliveries(
        None, replay_input.filters.selection, PageRequest(_MAX_SCANNED)
    )
    counts: dict[TenantId, int] = {}
    for one in page.items:
        counts[one.tenant_id] = counts.get(one.tenant_id, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


# ------------------------------------------------------------------ recovery of an endpoint
async def show_recovery(ctx: RequestContext) -> Response:
    """Ask for the start of the outage; the preview page then shows the effect."""
    query = ctx.query
    endpoint_id = query.get_id(Prefix.ENDPOINT, "endpoint")
    if endpoint_id is None:
        raise NotFound("endpoint", query.get_text("endpoint") or "without an id")
    id_ = EndpointId(endpoint_id)
    tenant_id = await ctx.find_owner(Prefix.ENDPOINT, id_)
    health = await ctx.services.endpoints.read_health(tenant_id, id_)
    kind, errors = query.get_text("kind"), {}
    if kind:
        try:
            return _redirect_to_preview(ctx, tenant_id, id_, kind)
        except Invalid as error:
            errors = {error.field: error.why}
    return ctx.render_page(
        "replay_recover.html",
        status=422 if errors else 200,
        endpoint=health.endpoint,
        unhealthy_since=""
        if health.hold is None
        else f"{health.record.health.breaker.since:{_MINUTE_FORMAT}}",
        kind=kind,
        form_input=query,
        errors=errors,
        periods=PERIODS,
    )


def _redirect_to_preview(
    ctx: RequestContext, tenant_id: TenantId, endpoint_id: EndpointId, kind: str
) -> Response:
    query = ctx.query
    if not query.get_text("since"):
        raise Invalid("since", "is required")
    with validating_field("since"):
        since = parse_time(query.get_text("since"), now=ctx.now, naive_is_utc=True)
    if since > ctx.now:
        raise Invalid("since", "is in the future")
    public_id = format_id(Prefix.ENDPOINT, endpoint_id)
    params: dict[str, object] = {
        "endpoint": public_id,
        "since": since.isoformat(),
        "hold": query.get_text("hold"),
    }
    if kind == MISSING:
        params |= {MISSING: "1", "type": query.get_text("type")}
    else:
        params["status"] = [DeliveryStatus.FAILED, DeliveryStatus.PENDING]
    params["reason"] = query.get_text("reason") or f"recovery since {query.get_text('since')}"
    if ctx.is_staff:
        params[TENANT_PARAM] = format_id(Prefix.TENANT, tenant_id)
    return RedirectResponse(ctx.link("/replays/new", **params), 303)


ROUTES: Final = [
    make_get_route("/replays/new", show_preview, Ability.REPLAY),
    make_get_route("/replays/recover", show_recovery, Ability.REPLAY),
    make_post_route("/replays", start_replay, Ability.REPLAY),
]
