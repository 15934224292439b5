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
    int | None, Query(ge=1, le=_MAX_VERSION, description="This version. Else the newest.")
]


@router.get("/v1/event-types")
async def list_event_types(
    services: ServicesDep,
    _caller: RequiresReadNoTenant,
    *,
    archived: Annotated[bool, Query(description="Archived ones too.")] = False,
) -> EventTypeList:
    """List the types of the catalogue by name: all of them in one answer, without schemas and examples."""
    types = await services.event_types.list_types(archived=archived)
    return EventTypeList(items=[EventTypeOut.from_record(one) for one in types], next=None)


@router.get("/v1/event-types/{event_type}")
async def read_event_type(
    services: ServicesDep,
    _caller: RequiresReadNoTenant,
    event_type: EventTypeInPath,
    version: VersionQuery = None,
) -> EventTypeDetailOut:
    """Read a type, archived or not, with the schema and the examples of its newest version, or of another."""
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
    """Have a type be so from now on. Another schema or other examples make a new version; the rest does not.

    The answer is 201 where the type is new, or was archived. Whether it is deprecated stays as it was.
    """
    told, is_new = await services.event_types.declare(
        event_type, body.to_command(), reason=reason, actor=actor
    )
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/event-types/{event_type}"
    return EventTypeDetailOut.from_details(told)


@router.patch("/v1/event-types/{event_type}")
async def change_event_type(
    services: ServicesDep,
    actor: RequiresOperator,
    event_type: EventTypeInPath,
    body: EventTypePatch,
    reason: ReasonQuery = None,
) -> EventTypeDetailOut:
    """Change what is named and nothing else, such as that the type is deprecated. No new version."""
    told = await services.event_types.change(
        event_type, to_event_type_changes(body), reason=reason, actor=actor
    )
    return EventTypeDetailOut.from_details(told)


@router.delete("/v1/event-types/{event_type}", status_code=204)
async def archive_event_type(
    services: ServicesDep, actor: RequiresOperator, event_type: EventTypeInPath, reason: ReasonQuery = None
) -> None:
    """Take a type out of the catalogue. Its events are still accepted, unchecked; its versions are kept."""
    await services.event_types.archive(event_type, reason=reason, actor=actor)


@router.get("/v1/event-catalogue/openapi", responses=_DOCUMENT_RESPONSES, response_class=Response)
async def export_openapi(services: ServicesDep, _caller: RequiresReadNoTenant) -> Response:
    """The catalogue as an OpenAPI 3.1 document, each type one of its `webhooks`."""
    return _render_document(await services.event_types.export_document("openapi"))


@router.get("/v1/event-catalogue/asyncapi", responses=_DOCUMENT_RESPONSES, response_class=Response)
async def export_asyncapi(services: ServicesDep, _caller: RequiresReadNoTenant) -> Response:
    """The catalogue as an AsyncAPI 3 document, each type a message."""
    return _render_document(await services.event_types.export_document("asyncapi"))


def _render_document(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
