"""A new replay: from any search, look first, then say why and how fast; and what an endpoint has missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse

from delivery.checks import field
from delivery.console.filters import PERIODS, moment_of
from delivery.console.replay_form import MISSING, read_asked, read_replay
from delivery.console.replaying import bearing, limit
from delivery.console.selected import told
from delivery.console.visits import NARROWED, get, post
from delivery.errors import Conflict, Invalid, NotFound
from delivery.jobs import MissingSelection
from delivery.model import DeliveryStatus, EndpointId, Prefix, show_id
from delivery.paging import Cut
from delivery.people import Ability
from delivery.replay import NewReplay
from delivery.selection import DeliverySelection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from delivery.console.replay_form import Asked
    from delivery.console.visits import Form, Visit
    from delivery.model import TenantId
    from delivery.replay import Preview

# Of so many deliveries it is looked whose they are; so many tenants are offered where none was found.
_LOOKED_AT: Final = 200
_TENANTS: Final = 50
_EVERYTHING: Final = "must be ticked: without a filter this means every delivery of the tenant"
_HELD: Final = "must be ticked, or resume the endpoint first: it is paused or disabled and takes nothing now"
_MINUTE: Final = "%Y-%m-%dT%H:%M"
_FAULTS: Final = {"reason": "must say why: the audit keeps it"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The page as it is to be shown: what was typed, and what is wrong with it."""

    typed: Form
    faults: Mapping[str, str]
    weighed: bool
    status: int = 200


async def look(visit: Visit) -> Response:
    """What a replay of this search would send. What is dear to know is asked for when the page stands."""
    asked = read_asked(visit.query, now=visit.now)
    if asked.wanted is not None and visit.tenant_id is None:
        return await _choose(visit, asked)
    status = 422 if asked.faults else 200
    return await _page(visit, asked, _Shown(visit.query, {}, visit.query.ticked("weighed"), status))


async def begin(visit: Visit) -> Response:
    """Begin the replay of the form, and go to where it can be followed."""
    form = await visit.form()
    asked = read_asked(form, now=visit.now)
    if asked.wanted is None:
        return await _page(visit, asked, _Shown(form, {}, weighed=True, status=422))
    if visit.tenant_id is None:
        return await _choose(visit, asked)
    try:
        new = _read(form, asked.wanted, everything=asked.is_unbounded)
        made = await visit.uses.replays.create(
            visit.tenant_id, new, operator=_may_all(visit), actor=visit.visitor.actor
        )
    except Invalid as error:
        return await _page(visit, asked, _Shown(form, {error.field: error.why}, weighed=True, status=422))
    except Conflict:
        return await _page(visit, asked, _Shown(form, {"hold": _HELD}, weighed=True, status=409))
    return visit.go(f"/replays/{show_id(Prefix.REPLAY, made.id)}", said="The replay has begun.")


def _read(form: Form, wanted: DeliverySelection | MissingSelection, *, everything: bool) -> NewReplay:
    """The replay; raises Invalid, which says what is wrong as the form has it."""
    if not form.text("reason"):
        raise Invalid("reason", _FAULTS["reason"])
    if everything and not form.ticked("everything"):
        raise Invalid("everything", _EVERYTHING)
    return read_replay(form, wanted)


def _may_all(visit: Visit) -> bool:
    """Whether the visitor may have everything there is sent again."""
    return visit.is_staff and visit.may(Ability.ADMINISTER)


async def _page(visit: Visit, asked: Asked, shown: _Shown) -> Response:
    refused = asked.is_unbounded and not _may_all(visit)
    preview = None
    if shown.weighed and not refused and asked.wanted is not None:
        preview = await _preview(visit, asked)
    if visit.is_staff and visit.tenant_id is not None:
        await visit.uses.tenants.read(visit.tenant_id)  # one that there is not has nothing to send
    return visit.page(
        "replay_new.html",
        status=shown.status,
        asked=asked,
        told=[] if asked.wanted is None else told(asked.wanted),
        fields=asked.fixed(visit.now),
        preview=preview,
        standing=[] if preview is None else _standing(asked, preview),
        refused=refused,
        typed=shown.typed,
        faults=shown.faults,
    )


async def _preview(visit: Visit, asked: Asked) -> Preview | None:
    if asked.wanted is None or visit.tenant_id is None:
        return None
    new = NewReplay(asked.wanted, "a look at what it would send", everything=True)
    return await visit.uses.replays.preview(visit.tenant_id, new, operator=_may_all(visit))


def _standing(asked: Asked, preview: Preview) -> list[dict[str, object]]:
    named = len(asked.filters.written.get("endpoint", ()))
    return [
        {
            "endpoint": endpoint,
            "bearing": bearing(endpoint, held, named=place < named),
            "limit": limit(endpoint, count=preview.count if named == 1 else None),
        }
        for place, (endpoint, held) in enumerate(preview.endpoints)
    ]


# ------------------------------------------------------------------ whose
async def _choose(visit: Visit, asked: Asked) -> Response:
    """Have staff say for which tenant: a replay is of one."""
    whose = await _whose(visit, asked)
    if len(whose) == 1 and asked.filters.written.get("endpoint"):
        only = show_id(Prefix.TENANT, next(iter(whose)))
        return RedirectResponse(visit.link("/replays/new", **asked.query, **{NARROWED: only}), 303)
    names = (await visit.uses.names.of(visit.tenant_id, tenant_ids=whose)).tenants
    found = [(id_, names.get(id_, ""), count) for id_, count in whose.items()]
    if not found:
        some = await visit.uses.tenants.page(Cut(_TENANTS))
        found = [(one.id, one.name, 0) for one in some.items]
    return visit.page("replay_tenant.html", asked=asked, tenants=found, looked_at=_LOOKED_AT)


async def _whose(visit: Visit, asked: Asked) -> dict[TenantId, int]:
    """The tenants of the newest that are found, with how many each has, most first; none: dear to know."""
    match asked.wanted:
        case MissingSelection(endpoint_id=endpoint_id):
            return {await visit.whose(Prefix.ENDPOINT, endpoint_id): 0}
        case DeliverySelection(endpoints=endpoints) if endpoints:
            return {await visit.whose(Prefix.ENDPOINT, id_): 0 for id_ in endpoints}
    dear = asked.filters.written.keys() & {"held_by", "idempotency_key", "payload"}
    if dear or asked.filters.wanted is None:
        return {}
    page = await visit.uses.deliveries.page(None, asked.filters.wanted, Cut(_LOOKED_AT))
    counts: dict[TenantId, int] = {}
    for one in page.items:
        counts[one.tenant_id] = counts.get(one.tenant_id, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


# ------------------------------------------------------------------ what an endpoint has missed
async def recover(visit: Visit) -> Response:
    """Ask since when; then the page above shows what it comes to."""
    query = visit.query
    endpoint_id = query.id(Prefix.ENDPOINT, "endpoint")
    if endpoint_id is None:
        raise NotFound("endpoint", query.text("endpoint") or "without an id")
    id_ = EndpointId(endpoint_id)
    tenant_id = await visit.whose(Prefix.ENDPOINT, id_)
    health = await visit.uses.endpoints.health(tenant_id, id_)
    kind, faults = query.text("kind"), {}
    if kind:
        try:
            return _recover(visit, tenant_id, id_, kind)
        except Invalid as error:
            faults = {error.field: error.why}
    return visit.page(
        "replay_recover.html",
        status=422 if faults else 200,
        endpoint=health.endpoint,
        troubled_since="" if health.hold is None else f"{health.standing.health.breaker.since:{_MINUTE}}",
        kind=kind,
        typed=query,
        faults=faults,
        periods=PERIODS,
    )


def _recover(visit: Visit, tenant_id: TenantId, endpoint_id: EndpointId, kind: str) -> Response:
    query = visit.query
    if not query.text("since"):
        raise Invalid("since", "must say from when on")
    with field("since"):
        since = moment_of(query.text("since"), now=visit.now)
    if since > visit.now:
        raise Invalid("since", "lies ahead: it is asked what came before now")
    shown = show_id(Prefix.ENDPOINT, endpoint_id)
    asked: dict[str, object] = {"endpoint": shown, "since": since.isoformat(), "hold": query.text("hold")}
    if kind == MISSING:
        asked |= {MISSING: "1", "type": query.text("type")}
    else:
        asked["status"] = [DeliveryStatus.FAILED, DeliveryStatus.PENDING]
    asked["reason"] = query.text("reason") or f"recovery since {query.text('since')}"
    if visit.is_staff:
        asked[NARROWED] = show_id(Prefix.TENANT, tenant_id)
    return RedirectResponse(visit.link("/replays/new", **asked), 303)


ROUTES: Final = [
    get("/replays/new", look, Ability.REPLAY),
    get("/replays/recover", recover, Ability.REPLAY),
    post("/replays", begin, Ability.REPLAY),
]
