"""Replays: all of them, and one with its progress, its deliveries, and what stops it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.console import replaying
from delivery.console.selected import query_of, told
from delivery.console.visits import NARROWED, get, post
from delivery.jobs import ItemState, MissingSelection, ReplayState
from delivery.model import Prefix, ReplayId, show_id
from delivery.paging import Cut
from delivery.people import Ability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from delivery.console.visits import Visit
    from delivery.jobs import Replay
    from delivery.model import TenantId

E = TypeVar("E", bound=StrEnum)

AT_ONCE: Final = 25
ITEMS_AT_ONCE: Final = 50


async def every(visit: Visit) -> Response:
    """Replays, newest first; the page follows those that run."""
    state = _one_of(ReplayState, visit.query.text("state"))
    cut = Cut.following(AT_ONCE, visit.query.id(Prefix.REPLAY, "behind"), oldest_first=False)
    page = await visit.uses.replays.page(visit.tenant_id, state, cut)
    whose = [one.tenant_id for one in page.items] if visit.is_staff else []
    behind = visit.query.text("behind")
    more = None
    if page.last is not None:
        more = visit.link("/replays", state=state, behind=show_id(Prefix.REPLAY, page.last))
    return visit.page(
        "replays.html",
        replays=page.items,
        state=state,
        states=list(ReplayState),
        tenants=(await visit.uses.names.of(visit.tenant_id, tenant_ids=whose)).tenants,
        follows=any(one.state in replaying.GOING_ON for one in page.items),
        again=visit.link("/replays", state=state, behind=behind),
        first=visit.link("/replays", state=state) if behind else None,
        more=more,
        say=replaying,
        told=told,
    )


async def one(visit: Visit) -> Response:
    """One replay, followed while it moves."""
    tenant_id, replay = await _found(visit)
    shown = show_id(Prefix.REPLAY, replay.id)
    state = _one_of(ItemState, visit.query.text("state"))
    behind = visit.query.id(Prefix.DELIVERY, "behind")
    cut = Cut.following(ITEMS_AT_ONCE, behind, oldest_first=True)
    page = await visit.uses.replays.items(tenant_id, replay.id, state, cut)
    names = await visit.uses.names.of(
        tenant_id, endpoint_ids=[item.endpoint_id for item in page.items], tenant_ids=[tenant_id]
    )
    here = f"/replays/{shown}"
    more = None
    if page.last is not None:
        more = visit.link(here, state=state, behind=show_id(Prefix.DELIVERY, page.last))
    return visit.page(
        "replay.html",
        replay=replay,
        shown=shown,
        items=page.items,
        state=state,
        urls=names.urls,
        tenant_name=names.tenants.get(tenant_id) if visit.is_staff else None,
        search=_search(visit, replay),
        told=told(replay.wanted),
        is_missing=isinstance(replay.wanted, MissingSelection),
        again=visit.link(here, state=state, behind=visit.query.text("behind")),
        first=visit.link(here, state=state) if behind else None,
        more=more,
        say=replaying,
        counts=[(one, replay.counts[one]) for one in ItemState if replay.counts.get(one)],
    )


def _search(visit: Visit, replay: Replay) -> str | None:
    """Where what it means is found; what was never owed is found nowhere."""
    if isinstance(replay.wanted, MissingSelection):
        return None
    whose = {NARROWED: show_id(Prefix.TENANT, replay.tenant_id)} if visit.is_staff else {}
    return visit.link("/deliveries", **query_of(replay.wanted), **whose)


async def _found(visit: Visit) -> tuple[TenantId, Replay]:
    replay_id = ReplayId(visit.id(Prefix.REPLAY))
    tenant_id = await visit.whose(Prefix.REPLAY, replay_id)
    return tenant_id, await visit.uses.replays.read(tenant_id, replay_id)


def _one_of(kind: type[E], text: str) -> E | None:
    """The state that the address names; what is none asks for all."""
    return kind(text) if text in set(kind) else None


# ------------------------------------------------------------------ what stops it
def _move(verb: str, said: str) -> Callable[[Visit], Awaitable[Response]]:
    """What a button does: `verb` is what the use case calls it."""

    async def act(visit: Visit) -> Response:
        replay_id = ReplayId(visit.id(Prefix.REPLAY))
        tenant_id = await visit.whose(Prefix.REPLAY, replay_id)
        reason = (await visit.form()).given("reason")
        replays = visit.uses.replays
        moves = {"pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel}
        await moves[verb](tenant_id, replay_id, reason=reason, actor=visit.visitor.actor)
        return visit.go(f"/replays/{show_id(Prefix.REPLAY, replay_id)}", said=said)

    return act


async def ask_to_cancel(visit: Visit) -> Response:
    """Say what becomes of the rest before it is cancelled."""
    _, replay = await _found(visit)
    return visit.page(
        "replay_cancel.html",
        replay=replay,
        shown=show_id(Prefix.REPLAY, replay.id),
        is_over=replay.state in replaying.OVER,
        say=replaying,
    )


ROUTES: Final = [
    get("/replays", every),
    get("/replays/{id}", one),
    post("/replays/{id}/pause", _move("pause", "It is paused; nothing more goes out."), Ability.REPLAY),
    post("/replays/{id}/resume", _move("resume", "It goes on."), Ability.REPLAY),
    get("/replays/{id}/cancel", ask_to_cancel, Ability.REPLAY),
    post("/replays/{id}/cancel", _move("cancel", "It is being cancelled."), Ability.REPLAY),
]
