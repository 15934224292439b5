"""The catalogue of event types: written by the operator, read with every key."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from delivery.api.http.auth import RequiresOperator, RequiresReadNoTenant, ServicesDep
from delivery.api.http.parameters import EventTypeInPath, ReasonQuery
from delivery.api.http.strict import StrictRoute
from delivery.schemas.event_types import (
    EventTypeDetailOut,
    EventTypeIn,
    EventTypeList,
    EventTypeOut,
    EventTypePatch,
    to_event_type_changes,
)

router = APIRouter(tags=["event types"], route_class=StrictRoute)

_MAX_VERSION = 1_000_000
_DOCUMENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The document.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


VersionQuery = Annotated[
    int | None, Query(ge=1, le=_MAX_VERSION, description="The version to show. Default: the newest.")
]


@router.get("/v1/event-types")
async def list_event_types(
    services: ServicesDep,
    _caller: RequiresReadNoTenant,
    *,
    archived: Annotated[bool, Query(description="Include archived types.")] = False,
) -> EventTypeList:
    """List all types of the catalogue by name, without schemas and examples."""
    types = await services.event_types.list_types(archived=archived)
    return EventTypeList(items=[EventTypeOut.from_record(event_type) for event_type in types], next=None)


@router.get("/v1/event-types/{event_type}")
async def read_event_type(
    services: ServicesDep,
    _caller: RequiresReadNoTenant,
    event_type: EventTypeInPath,
    version: VersionQuery = None,
) -> EventTypeDetailOut:
    """Read a type, archived or not, with the schema and the examples of one version."""
    return EventTypeDetailOut.from_details(await services.event_types.read(event_type, version=version))


@router.put("/v1/event-types/{event_type}", responses={201: {"model": EventTypeDetailOut}})
async def declare_event_type(
    services: ServicesDep,
    actor: RequiresOperator,
    event_type: EventTypeInPath,
    body: EventTypeIn,
    response: Response,
    reason: ReasonQuery = None,
) -> EventTypeDetailOut:
    """Create or replace a type. A changed schema or changed examples create a new version.

    The status is 201 if the type is new or was archived. Its deprecation is left unchanged.
    """
    details, is_new = await services.event_types.declare(
        event_type, body.to_command(), reason=reason, actor=actor
    )
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/event-types/{event_type}"
    return EventTypeDetailOut.from_details(details)


@router.patch("/v1/event-types/{event_type}")
async def change_event_type(
    services: ServicesDep,
    actor: RequiresOperator,
    event_type: EventTypeInPath,
    body: EventTypePatch,
    reason: ReasonQuery = None,
) -> EventTypeDetailOut:
    """Change the given fields only, such as the deprecation. Creates no new version."""
    details = await services.event_types.change(
        event_type, to_event_type_changes(body), reason=reason, actor=actor
    )
    return EventTypeDetailOut.from_details(details)


@router.delete("/v1/event-types/{event_type}", status_code=204)
async def archive_event_type(
    services: ServicesDep, actor: RequiresOperator, event_type: EventTypeInPath, reason: ReasonQuery = None
) -> None:
    """Archive a type. Its events are still accepted, without validation; its versions are kept."""
    await services.event_types.archive(event_type, reason=reason, actor=actor)


@router.get("/v1/event-catalogue/openapi", responses=_DOCUMENT_RESPONSES, response_class=Response)
async def export_openapi(services: ServicesDep, _caller: RequiresReadNoTenant) -> Response:
    """Export the catalogue as an OpenAPI 3.1 document, with a webhook for each type."""
    return _render_document(await services.event_types.export_document("openapi"))


@router.get("/v1/event-catalogue/asyncapi", responses=_DOCUMENT_RESPONSES, response_class=Response)
async def export_asyncapi(services: ServicesDep, _caller: RequiresReadNoTenant) -> Response:
    """Export the catalogue as an AsyncAPI 3 document, with a message for each type."""
    return _render_document(await services.event_types.export_document("asyncapi"))


def _render_document(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
