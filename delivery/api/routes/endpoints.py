"""Endpoints: where a tenant's events go."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from delivery.accept import NewEvent, endpoint_test
from delivery.api import filter_trial_shapes
from delivery.api.callers import Managing, Reading, Uses
from delivery.api.endpoint_health_shapes import EnablePreviewOut, EndpointHealthOut
from delivery.api.endpoint_shapes import (
    EnableIn,
    EndpointIn,
    EndpointList,
    EndpointOut,
    EndpointPatch,
    NewEndpointOut,
    NewSecretOut,
    ReasonIn,
    RotationIn,
    SecretList,
    SecretOut,
    TestIn,
    changes_of,
)
from delivery.api.event_shapes import ACCEPTED
from delivery.api.filter_trial_shapes import FilterTrialOut
from delivery.api.routing import StrictRoute, require_json
from delivery.api.shapes import AskedPage, EndpointInPath, Reason

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_endpoint(
    uses: Uses, acting: Managing, given: EndpointIn, response: Response
) -> NewEndpointOut:
    """Make an endpoint. Its secret is told in this answer and never again."""
    made = await uses.endpoints.create(acting.tenant_id, given.asked(), actor=acting.actor)
    shown = NewEndpointOut.made(*made)
    response.headers["Location"] = f"/v1/endpoints/{shown.id}"
    return shown


@router.get("")
async def list_endpoints(uses: Uses, acting: Reading, asked: AskedPage) -> EndpointList:
    """List endpoints, newest first."""
    scope = ("endpoints", acting.tenant_id)
    page = await uses.endpoints.page(acting.tenant_id, asked.cut(*scope))
    return EndpointList(items=[EndpointOut.of(e) for e in page.items], next=asked.next(page.last, *scope))


@router.get("/{endpoint_id}")
async def read_endpoint(uses: Uses, acting: Reading, endpoint_id: EndpointInPath) -> EndpointOut:
    """Read an endpoint."""
    return EndpointOut.of(await uses.endpoints.read(acting.tenant_id, endpoint_id))


@router.get("/{endpoint_id}/health")
async def read_health(uses: Uses, acting: Reading, endpoint_id: EndpointInPath) -> EndpointHealthOut:
    """Read how an endpoint does: what holds it, what waits for it, how its last attempts went."""
    return EndpointHealthOut.of(await uses.endpoints.health(acting.tenant_id, endpoint_id))


@router.patch("/{endpoint_id}")
async def change_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: EndpointPatch, reason: Reason = None
) -> EndpointOut:
    """Change what is named and nothing else. Deliveries that are still owed go to where it points now."""
    changes = changes_of(given)
    changed = await uses.endpoints.change(
        acting.tenant_id, endpoint_id, changes, reason=reason, actor=acting.actor
    )
    return EndpointOut.of(changed)


@router.delete("/{endpoint_id}", status_code=204)
async def delete_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, reason: Reason = None
) -> None:
    """Delete an endpoint. What it was still owed is cancelled; its history stays."""
    await uses.endpoints.delete(acting.tenant_id, endpoint_id, reason=reason, actor=acting.actor)


@router.post("/{endpoint_id}/pause")
async def pause_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: ReasonIn | None = None
) -> EndpointOut:
    """Pause an endpoint: events are still matched, and its deliveries are held until it is resumed."""
    paused = await uses.endpoints.pause(
        acting.tenant_id, endpoint_id, reason=_reason(given), actor=acting.actor
    )
    return EndpointOut.of(paused)


@router.post("/{endpoint_id}/resume")
async def resume_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: ReasonIn | None = None
) -> EndpointOut:
    """Resume a paused endpoint: what was held goes out, one at a time at first, then faster."""
    resumed = await uses.endpoints.resume(
        acting.tenant_id, endpoint_id, reason=_reason(given), actor=acting.actor
    )
    return EndpointOut.of(resumed)


@router.post("/{endpoint_id}/disable")
async def disable_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: ReasonIn | None = None
) -> EndpointOut:
    """Disable an endpoint: events are still matched, and its deliveries held until somebody enables it."""
    disabled = await uses.endpoints.disable(
        acting.tenant_id, endpoint_id, reason=_reason(given), actor=acting.actor
    )
    return EndpointOut.of(disabled)


@router.post("/{endpoint_id}/enable")
async def enable_endpoint(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: EnableIn | None = None
) -> EndpointOut | EnablePreviewOut:
    """Enable a disabled endpoint: what was held goes out, one at a time at first, then faster.

    With `dry_run` nothing is changed, and the answer tells what would go out.
    """
    asked = given or EnableIn()
    if asked.dry_run:
        preview = await uses.endpoints.preview_enable(acting.tenant_id, endpoint_id, reason=asked.reason)
        return EnablePreviewOut.of(preview)
    enabled = await uses.endpoints.enable(
        acting.tenant_id, endpoint_id, reason=asked.reason, actor=acting.actor
    )
    return EndpointOut.of(enabled)


@router.post("/{endpoint_id}/secrets/rotate", status_code=201)
async def rotate_secret(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: RotationIn | None = None
) -> NewSecretOut:
    """Make a new secret. The older ones go on signing beside it until their overlap is over."""
    asked = given or RotationIn()
    hours = asked.overlap_hours
    made = await uses.endpoints.rotate_secret(
        acting.tenant_id,
        endpoint_id,
        secret=asked.secret,
        overlap=None if hours is None else timedelta(hours=hours),
        reason=asked.reason,
        actor=acting.actor,
    )
    return NewSecretOut.of(made.kept, secret=made.text)


@router.get("/{endpoint_id}/secrets")
async def list_secrets(uses: Uses, acting: Reading, endpoint_id: EndpointInPath) -> SecretList:
    """List the secrets that sign now, newest first: never the secrets themselves."""
    live = await uses.endpoints.secrets(acting.tenant_id, endpoint_id)
    return SecretList(items=[SecretOut.of(secret) for secret in live], next=None)


@router.post("/{endpoint_id}/filter/test", openapi_extra=filter_trial_shapes.ASKED)
async def test_filter(
    request: Request, uses: Uses, acting: Reading, endpoint_id: EndpointInPath
) -> FilterTrialOut:
    """Tell whether an event would be owed to this endpoint, and what each part of its filter says of it.

    Nothing is sent, and nothing written.
    """
    require_json(request)
    about, instead = filter_trial_shapes.read_trial(await request.body(), uses.accepter.limits)
    found = await uses.endpoints.try_filter(acting.tenant_id, endpoint_id, about, instead=instead)
    return FilterTrialOut.of(found)


@router.post("/{endpoint_id}/test", status_code=202, responses=ACCEPTED, response_class=Response)
async def send_test_event(
    uses: Uses, acting: Managing, endpoint_id: EndpointInPath, given: TestIn | None = None
) -> Response:
    """Send an event to this endpoint alone, whatever its filter says.

    It is of the type `waybill.test`, or of one that the catalogue has an example of.
    """
    endpoint = await uses.endpoints.read(acting.tenant_id, endpoint_id)
    event = endpoint_test(endpoint.id)
    if given is not None and given.type is not None:
        event = NewEvent(given.type, await uses.catalogue.example(given.type))
    accepted = await uses.accepter.accept(acting.tenant_id, [event], single=True, only_endpoint=endpoint.id)
    return Response(accepted.answer, 202, media_type="application/json")


def _reason(given: ReasonIn | None) -> str | None:
    return None if given is None else given.reason
