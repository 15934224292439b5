"""Replays: preview, create, follow, pause, resume and cancel."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from delivery.api.http.auth import OPERATOR, RequiresRead, RequiresReplay, ServicesDep, TenantCaller
from delivery.api.http.parameters import EndpointInPath, ListQueryDep, ReasonInBody, ReplayInPath
from delivery.api.http.strict import StrictRoute
from delivery.bootstrap import Services
from delivery.domain.replay import ItemState, ReplayState
from delivery.schemas.replays import (
    RecoverIn,
    ReplayIn,
    ReplayItemList,
    ReplayItemOut,
    ReplayList,
    ReplayOut,
    ReplayPreviewOut,
)
from delivery.services.replays.validation import NewReplay, build_recovery

router = APIRouter(prefix="/v1", tags=["replays"], route_class=StrictRoute)

StateQuery = Annotated[ReplayState | None, Query(description="Only those in this state.")]
ItemStateQuery = Annotated[ItemState | None, Query(description="Only those in this state.")]


@router.post("/replays", status_code=201, responses={200: {"model": ReplayPreviewOut}})
async def create_replay(
    services: ServicesDep, caller: RequiresReplay, body: ReplayIn, response: Response
) -> ReplayOut | ReplayPreviewOut:
    """Send many deliveries again, with lower priority than live traffic. `dry_run`: only preview it.

    Each is sent once, with the same `webhook-id` and the same bytes, signed with the current secrets.
    """
    return await _start_replay(services, caller, body.to_command(), response, dry_run=body.dry_run)


@router.post(
    "/endpoints/{endpoint_id}/recover", status_code=201, responses={200: {"model": ReplayPreviewOut}}
)
async def recover_endpoint(
    services: ServicesDep,
    caller: RequiresReplay,
    endpoint_id: EndpointInPath,
    body: RecoverIn,
    response: Response,
) -> ReplayOut | ReplayPreviewOut:
    """Send an endpoint its failed and waiting deliveries since an outage began."""
    new = build_recovery(endpoint_id, body.since, reason=body.reason, hold=body.hold)
    return await _start_replay(services, caller, new, response, dry_run=body.dry_run)


@router.get("/replays")
async def list_replays(
    services: ServicesDep, caller: RequiresRead, list_query: ListQueryDep, state: StateQuery = None
) -> ReplayList:
    """List replays, newest first."""
    scope = ("replays", caller.tenant_id, state)
    page = await services.replays.list_replays(caller.tenant_id, state, list_query.to_page_request(*scope))
    return ReplayList(
        items=[ReplayOut.from_record(replay) for replay in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.get("/replays/{replay_id}")
async def read_replay(services: ServicesDep, caller: RequiresRead, replay_id: ReplayInPath) -> ReplayOut:
    """Read a replay and its progress."""
    return ReplayOut.from_record(await services.replays.read(caller.tenant_id, replay_id))


@router.get("/replays/{replay_id}/deliveries")
async def list_replay_deliveries(
    services: ServicesDep,
    caller: RequiresRead,
    replay_id: ReplayInPath,
    list_query: ListQueryDep,
    state: ItemStateQuery = None,
) -> ReplayItemList:
    """List the deliveries of a replay, oldest first."""
    scope = ("replay deliveries", caller.tenant_id, replay_id, state)
    request = list_query.to_page_request(*scope, oldest_first=True)
    page = await services.replays.list_items(caller.tenant_id, replay_id, state, request)
    return ReplayItemList(
        items=[ReplayItemOut.from_record(item) for item in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.post("/replays/{replay_id}/pause")
async def pause_replay(
    services: ServicesDep, caller: RequiresReplay, replay_id: ReplayInPath, reason: ReasonInBody
) -> ReplayOut:
    """Stop sending for now, and withdraw deliveries that no worker has claimed yet."""
    return ReplayOut.from_record(
        await services.replays.pause(caller.tenant_id, replay_id, reason=reason, actor=caller.actor)
    )


@router.post("/replays/{replay_id}/resume")
async def resume_replay(
    services: ServicesDep, caller: RequiresReplay, replay_id: ReplayInPath, reason: ReasonInBody
) -> ReplayOut:
    """Resume a paused replay."""
    return ReplayOut.from_record(
        await services.replays.resume(caller.tenant_id, replay_id, reason=reason, actor=caller.actor)
    )


@router.post("/replays/{replay_id}/cancel")
async def cancel_replay(
    services: ServicesDep, caller: RequiresReplay, replay_id: ReplayInPath, reason: ReasonInBody
) -> ReplayOut:
    """Stop a replay permanently. Deliveries that no worker has claimed return to their previous status."""
    return ReplayOut.from_record(
        await services.replays.cancel(caller.tenant_id, replay_id, reason=reason, actor=caller.actor)
    )


async def _start_replay(
    services: Services, caller: TenantCaller, new: NewReplay, response: Response, *, dry_run: bool
) -> ReplayOut | ReplayPreviewOut:
    operator = caller.actor.name == OPERATOR
    if dry_run:
        response.status_code = 200
        return ReplayPreviewOut.from_record(
            await services.replays.preview(caller.tenant_id, new, operator=operator)
        )
    replay = ReplayOut.from_record(
        await services.replays.create(caller.tenant_id, new, operator=operator, actor=caller.actor)
    )
    response.headers["Location"] = f"/v1/replays/{replay.id}"
    return replay
