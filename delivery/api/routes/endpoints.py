"""Endpoints: create, read, change, pause, test, and rotate secrets."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from delivery.api.http.auth import RequiresManage, RequiresRead, ServicesDep
from delivery.api.http.parameters import EndpointInPath, ListQueryDep, ReasonInBody, ReasonQuery
from delivery.api.http.strict import StrictRoute, require_json
from delivery.pipeline.parsing import NewEvent, build_test_event
from delivery.schemas import filter_tests
from delivery.schemas.endpoint_health import EnablePreviewOut, EndpointHealthOut
from delivery.schemas.endpoints import (
    EnableIn,
    EndpointIn,
    EndpointList,
    EndpointOut,
    EndpointPatch,
    NewEndpointOut,
    NewSecretOut,
    RotationIn,
    SecretList,
    SecretOut,
    TestIn,
    to_endpoint_changes,
)
from delivery.schemas.events import ACCEPTED_RESPONSES
from delivery.schemas.filter_tests import FilterTrialOut

router = APIRouter(prefix="/v1/endpoints", tags=["endpoints"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_endpoint(
    services: ServicesDep, caller: RequiresManage, body: EndpointIn, response: Response
) -> NewEndpointOut:
    """Create an endpoint. The response contains its secret, which is never shown again."""
    new_endpoint = await services.endpoints.create(caller.tenant_id, body.to_command(), actor=caller.actor)
    endpoint = NewEndpointOut.from_new_endpoint(*new_endpoint)
    response.headers["Location"] = f"/v1/endpoints/{endpoint.id}"
    return endpoint


@router.get("")
async def list_endpoints(
    services: ServicesDep, caller: RequiresRead, list_query: ListQueryDep
) -> EndpointList:
    """List endpoints, newest first."""
    scope = ("endpoints", caller.tenant_id)
    page = await services.endpoints.list_endpoints(caller.tenant_id, list_query.to_page_request(*scope))
    return EndpointList(
        items=[EndpointOut.from_record(e) for e in page.items],
        next=list_query.encode_next_cursor(page.next_cursor, *scope),
    )


@router.get("/{endpoint_id}")
async def read_endpoint(
    services: ServicesDep, caller: RequiresRead, endpoint_id: EndpointInPath
) -> EndpointOut:
    """Read an endpoint."""
    return EndpointOut.from_record(await services.endpoints.read(caller.tenant_id, endpoint_id))


@router.get("/{endpoint_id}/health")
async def read_health(
    services: ServicesDep, caller: RequiresRead, endpoint_id: EndpointInPath
) -> EndpointHealthOut:
    """Read an endpoint's health: what holds its deliveries, its backlog, and its latest attempts."""
    return EndpointHealthOut.from_record(await services.endpoints.read_health(caller.tenant_id, endpoint_id))


@router.patch("/{endpoint_id}")
async def change_endpoint(
    services: ServicesDep,
    caller: RequiresManage,
    endpoint_id: EndpointInPath,
    body: EndpointPatch,
    reason: ReasonQuery = None,
) -> EndpointOut:
    """Change the given fields only. Pending deliveries are sent with the new settings."""
    changes = to_endpoint_changes(body)
    changed = await services.endpoints.change(
        caller.tenant_id, endpoint_id, changes, reason=reason, actor=caller.actor
    )
    return EndpointOut.from_record(changed)


@router.delete("/{endpoint_id}", status_code=204)
async def delete_endpoint(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, reason: ReasonQuery = None
) -> None:
    """Delete an endpoint. Its pending deliveries are cancelled; its history stays."""
    await services.endpoints.delete(caller.tenant_id, endpoint_id, reason=reason, actor=caller.actor)


@router.post("/{endpoint_id}/pause")
async def pause_endpoint(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, reason: ReasonInBody
) -> EndpointOut:
    """Pause an endpoint: events are still matched, and its deliveries are held until it is resumed."""
    paused = await services.endpoints.pause(caller.tenant_id, endpoint_id, reason=reason, actor=caller.actor)
    return EndpointOut.from_record(paused)


@router.post("/{endpoint_id}/resume")
async def resume_endpoint(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, reason: ReasonInBody
) -> EndpointOut:
    """Resume a paused endpoint: held deliveries are sent, one at a time at first, then faster."""
    resumed = await services.endpoints.resume(
        caller.tenant_id, endpoint_id, reason=reason, actor=caller.actor
    )
    return EndpointOut.from_record(resumed)


@router.post("/{endpoint_id}/disable")
async def disable_endpoint(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, reason: ReasonInBody
) -> EndpointOut:
    """Disable an endpoint: events are still matched, and its deliveries are held until it is enabled."""
    disabled = await services.endpoints.disable(
        caller.tenant_id, endpoint_id, reason=reason, actor=caller.actor
    )
    return EndpointOut.from_record(disabled)


@router.post("/{endpoint_id}/enable")
async def enable_endpoint(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, body: EnableIn | None = None
) -> EndpointOut | EnablePreviewOut:
    """Enable a disabled endpoint: held deliveries are sent, one at a time at first, then faster.

    With `dry_run` nothing is changed, and the response says what would be sent.
    """
    options = body or EnableIn()
    if options.dry_run:
        preview = await services.endpoints.preview_enable(
            caller.tenant_id, endpoint_id, reason=options.reason
        )
        return EnablePreviewOut.from_record(preview)
    enabled = await services.endpoints.enable(
        caller.tenant_id, endpoint_id, reason=options.reason, actor=caller.actor
    )
    return EndpointOut.from_record(enabled)


@router.post("/{endpoint_id}/secrets/rotate", status_code=201)
async def rotate_secret(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, body: RotationIn | None = None
) -> NewSecretOut:
    """Create a new secret. Older secrets also sign until their overlap ends."""
    options = body or RotationIn()
    hours = options.overlap_hours
    new_secret = await services.endpoints.rotate_secret(
        caller.tenant_id,
        endpoint_id,
        secret=options.secret,
        overlap=None if hours is None else timedelta(hours=hours),
        reason=options.reason,
        actor=caller.actor,
    )
    return NewSecretOut.from_record(new_secret.secret, secret=new_secret.text)


@router.get("/{endpoint_id}/secrets")
async def list_secrets(
    services: ServicesDep, caller: RequiresRead, endpoint_id: EndpointInPath
) -> SecretList:
    """List the secrets that are in use, newest first, without the secrets themselves."""
    secrets = await services.endpoints.list_secrets(caller.tenant_id, endpoint_id)
    return SecretList(items=[SecretOut.from_record(secret) for secret in secrets], next=None)


@router.post("/{endpoint_id}/filter/test", openapi_extra=filter_tests.FILTER_TEST_OPERATION)
async def test_filter(
    request: Request, services: ServicesDep, caller: RequiresRead, endpoint_id: EndpointInPath
) -> FilterTrialOut:
    """Test whether an event would be delivered to this endpoint, with the result of each part of its filter.

    Nothing is sent or written.
    """
    require_json(request)
    event, overrides = filter_tests.parse_trial(await request.body(), services.intake.limits)
    result = await services.endpoints.try_filter(caller.tenant_id, endpoint_id, event, overrides=overrides)
    return FilterTrialOut.from_record(result)


@router.post("/{endpoint_id}/test", status_code=202, responses=ACCEPTED_RESPONSES, response_class=Response)
async def send_test_event(
    services: ServicesDep, caller: RequiresManage, endpoint_id: EndpointInPath, body: TestIn | None = None
) -> Response:
    """Send an event to this endpoint only, regardless of its filter.

    Its type is `waybill.test`, or a type that has an example in the catalogue.
    """
    endpoint = await services.endpoints.read(caller.tenant_id, endpoint_id)
    event = build_test_event(endpoint.id)
    if body is not None and body.type is not None:
        event = NewEvent(body.type, await services.event_types.read_example(body.type))
    accepted = await services.intake.accept_events(
        caller.tenant_id, [event], single=True, only_endpoint_id=endpoint.id
    )
    return Response(accepted.response_body, 202, media_type="application/json")
