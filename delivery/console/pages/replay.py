"""Replays: the list, and one replay with its progress, its items and its actions."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.console.forms.replay import build_query
from delivery.console.views import replay_progress
from delivery.console.views.selection import describe_selection
from delivery.console.web.context import TENANT_PARAM, make_get_route, make_post_route
from delivery.console.web.paging import Pager
from delivery.domain.ids import Prefix, ReplayId, format_id
from delivery.domain.replay import ItemState, MissingEventFilter, ReplayState
from delivery.services.accounts.roles import Ability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from delivery.console.web.context import RequestContext
    from delivery.domain.ids import TenantId
    from delivery.domain.replay import Replay

E = TypeVar("E", bound=StrEnum)

PAGE_SIZE: Final = 25
ITEMS_PAGE_SIZE: Final = 50


async def list_replays(ctx: RequestContext) -> Response:
    """List replays, newest first; the page refreshes while one is running."""
    state = _parse_state(ReplayState, ctx.query.get_text("state"))
    pager = Pager(ctx, "/replays", Prefix.REPLAY, PAGE_SIZE, {"state": state})
    page = await ctx.services.replays.list_replays(ctx.tenant_id, state, pager.request)
    tenant_ids = [one.tenant_id for one in page.items] if ctx.is_staff else []
    return ctx.render_page(
        "replays.html",
        replays=page.items,
        state=state,
        states=list(ReplayState),
        tenant_names=(
            await ctx.services.lookups.load_labels(ctx.tenant_id, tenant_ids=tenant_ids)
        ).tenant_names,
        auto_refresh=any(one.state in replay_progress.ACTIVE_STATES for one in page.items),
        refresh_url=pager.current_url,
        **pager.build_links(page),
        replay_view=replay_progress,
        describe_selection=describe_selection,
    )


async def show_replay(ctx: RequestContext) -> Response:
    """Show one replay; the page refreshes while it may change."""
    tenant_id, replay = await _load_replay(ctx)
    public_id = format_id(Prefix.REPLAY, replay.id)
    state = _parse_state(ItemState, ctx.query.get_text("state"))
    pager = Pager(
        ctx, f"/replays/{public_id}", Prefix.DELIVERY, ITEMS_PAGE_SIZE, {"state": state}, oldest_first=True
    )
    page = await ctx.services.replays.list_items(tenant_id, replay.id, state, pager.request)
    names = await ctx.services.lookups.load_labels(
        tenant_id, endpoint_ids=[item.endpoint_id for item in page.items], tenant_ids=[tenant_id]
    )
    return ctx.render_page(
        "replay.html",
        replay=replay,
        public_id=public_id,
        items=page.items,
        state=state,
        endpoint_urls=names.endpoint_urls,
        tenant_name=names.tenant_names.get(tenant_id) if ctx.is_staff else None,
        search_url=_build_search_url(ctx, replay),
        selection_facts=describe_selection(replay.selection),
        is_missing=isinstance(replay.selection, MissingEventFilter),
        refresh_url=pager.current_url,
        **pager.build_links(page),
        replay_view=replay_progress,
        counts=[(one, replay.counts[one]) for one in ItemState if replay.counts.get(one)],
    )


def _build_search_url(ctx: RequestContext, replay: Replay) -> str | None:
    """Build the URL of the search with the replay's selection; None for missing events."""
    if isinstance(replay.selection, MissingEventFilter):
        return None
    tenant = {TENANT_PARAM: format_id(Prefix.TENANT, replay.tenant_id)} if ctx.is_staff else {}
    return ctx.link("/deliveries", **build_query(replay.selection), **tenant)


async def _load_replay(ctx: RequestContext) -> tuple[TenantId, Replay]:
    replay_id = ReplayId(ctx.parse_path_id(Prefix.REPLAY))
    tenant_id = await ctx.find_owner(Prefix.REPLAY, replay_id)
    return tenant_id, await ctx.services.replays.read(tenant_id, replay_id)


def _parse_state(enum_type: type[E], text: str) -> E | None:
    """Parse the state in the URL; None for an unknown one, which selects all."""
    return enum_type(text) if text in set(enum_type) else None


# ------------------------------------------------------------------ actions
def _make_action(verb: str, flash: str) -> Callable[[RequestContext], Awaitable[Response]]:
    """Make the handler of a button; `verb` is the method of the replay service."""

    async def act(ctx: RequestContext) -> Response:
        replay_id = ReplayId(ctx.parse_path_id(Prefix.REPLAY))
        tenant_id = await ctx.find_owner(Prefix.REPLAY, replay_id)
        reason = (await ctx.read_form()).get_optional("reason")
        replays = ctx.services.replays
        moves = {"pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel}
        await moves[verb](tenant_id, replay_id, reason=reason, actor=ctx.principal.actor)
        return ctx.redirect(f"/replays/{format_id(Prefix.REPLAY, replay_id)}", flash=flash)

    return act


async def show_cancellation(ctx: RequestContext) -> Response:
    """Ask for confirmation and explain what happens to the remaining items."""
    _, replay = await _load_replay(ctx)
    return ctx.render_page(
        "replay_cancel.html",
        replay=replay,
        public_id=format_id(Prefix.REPLAY, replay.id),
        is_finished=replay.state in replay_progress.FINISHED_STATES,
    )


ROUTES: Final = [
    make_get_route("/replays", list_replays),
    make_get_route("/replays/{id}", show_replay),
    make_post_route("/replays/{id}/pause", _make_action("pause", "Replay paused."), Ability.REPLAY),
    make_post_route("/replays/{id}/resume", _make_action("resume", "Replay resumed."), Ability.REPLAY),
    make_get_route("/replays/{id}/cancel", show_cancellation, Ability.REPLAY),
    make_post_route(
        "/replays/{id}/cancel", _make_action("cancel", "The replay is being cancelled."), Ability.REPLAY
    ),
]
