"""Replays: many deliveries sent again, looked at first, followed, paused and stopped."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from delivery.api.callers import OPERATOR, Acting, Reading, Replaying, Uses
from delivery.api.endpoint_shapes import ReasonIn
from delivery.api.replay_shapes import (
    RecoverIn,
    ReplayIn,
    ReplayItemList,
    ReplayItemOut,
    ReplayList,
    ReplayOut,
    ReplayPreviewOut,
)
from delivery.api.routing import StrictRoute
from delivery.api.shapes import AskedPage, EndpointInPath, ReplayInPath
from delivery.bootstrap import Services
from delivery.jobs import ItemState, ReplayState
from delivery.replay import NewReplay, recovery

router = APIRouter(prefix="/v1", tags=["replays"], route_class=StrictRoute)

AskedState = Annotated[ReplayState | None, Query(description="Only those that stand so.")]
AskedItemState = Annotated[ItemState | None, Query(description="Only those that stand so.")]


@router.post("/replays", status_code=201, responses={200: {"model": ReplayPreviewOut}})
async def create_replay(
    uses: Uses, acting: Replaying, given: ReplayIn, response: Response
) -> ReplayOut | ReplayPreviewOut:
    """Send many deliveries again, behind live traffic. With `dry_run` only tell what would be sent.

    Each goes out once, under the same `webhook-id` with the same bytes, signed with today's secrets.
    """
    return await _begin(uses, acting, given.asked(), response, dry_run=given.dry_run)


@router.post(
    "/endpoints/{endpoint_id}/recover", status_code=201, responses={200: {"model": ReplayPreviewOut}}
)
async def recover_endpoint(
    uses: Uses, acting: Replaying, endpoint_id: EndpointInPath, given: RecoverIn, response: Response
) -> ReplayOut | ReplayPreviewOut:
    """Send an endpoint again what it did not get since an outage began: what failed, and what still waits."""
    new = recovery(endpoint_id, given.since, reason=given.reason, hold=given.hold)
    return await _begin(uses, acting, new, response, dry_run=given.dry_run)


@router.get("/replays")
async def list_replays(uses: Uses, acting: Reading, asked: AskedPage, state: AskedState = None) -> ReplayList:
    """List replays, newest first."""
    scope = ("replays", acting.tenant_id, state)
    page = await uses.replays.page(acting.tenant_id, state, asked.cut(*scope))
    return ReplayList(items=[ReplayOut.of(one) for one in page.items], next=asked.next(page.last, *scope))


@router.get("/replays/{replay_id}")
async def read_replay(uses: Uses, acting: Reading, replay_id: ReplayInPath) -> ReplayOut:
    """Read a replay, and how far it is."""
    return ReplayOut.of(await uses.replays.read(acting.tenant_id, replay_id))


@router.get("/replays/{replay_id}/deliveries")
async def list_replay_deliveries(
    uses: Uses, acting: Reading, replay_id: ReplayInPath, asked: AskedPage, state: AskedItemState = None
) -> ReplayItemList:
    """List the deliveries of a replay, oldest first."""
    scope = ("replay deliveries", acting.tenant_id, replay_id, state)
    cut = asked.cut(*scope, oldest_first=True)
    page = await uses.replays.items(acting.tenant_id, replay_id, state, cut)
    return ReplayItemList(
        items=[ReplayItemOut.of(one) for one in page.items], next=asked.next(page.last, *scope)
    )


@router.post("/replays/{replay_id}/pause")
async def pause_replay(
    uses: Uses, acting: Replaying, replay_id: ReplayInPath, given: ReasonIn | None = None
) -> ReplayOut:
    """Send no more for now, and take back what no worker has yet."""
    reason = None if given is None else given.reason
    return ReplayOut.of(
        await uses.replays.pause(acting.tenant_id, replay_id, reason=reason, actor=acting.actor)
    )


@router.post("/replays/{replay_id}/resume")
async def resume_replay(
    uses: Uses, acting: Replaying, replay_id: ReplayInPath, given: ReasonIn | None = None
) -> ReplayOut:
    """Go on with a replay that was paused."""
    reason = None if given is None else given.reason
    return ReplayOut.of(
        await uses.replays.resume(acting.tenant_id, replay_id, reason=reason, actor=acting.actor)
    )


@router.post("/replays/{replay_id}/cancel")
async def cancel_replay(
    uses: Uses, acting: Replaying, replay_id: ReplayInPath, given: ReasonIn | None = None
) -> ReplayOut:
    """Send no more, ever. What no worker has yet stands as it stood before."""
    reason = None if given is None else given.reason
    return ReplayOut.of(
        await uses.replays.cancel(acting.tenant_id, replay_id, reason=reason, actor=acting.actor)
    )


async def _begin(
    uses: Services, acting: Acting, new: NewReplay, response: Response, *, dry_run: bool
) -> ReplayOut | ReplayPreviewOut:
    operator = acting.actor.name == OPERATOR
    if dry_run:
        response.status_code = 200
        return ReplayPreviewOut.of(await uses.replays.preview(acting.tenant_id, new, operator=operator))
    made = await uses.replays.create(acting.tenant_id, new, operator=operator, actor=acting.actor)
    shown = ReplayOut.of(made)
    response.headers["Location"] = f"/v1/replays/{shown.id}"
    return shown
