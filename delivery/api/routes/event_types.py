"""The catalogue of event types: written by the operator, read with every key."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from delivery.api.callers import AsOperator, Looking, Uses
from delivery.api.event_type_shapes import (
    EventTypeIn,
    EventTypeInPath,
    EventTypeList,
    EventTypeOut,
    EventTypePatch,
    WholeEventTypeOut,
    changes_of,
)
from delivery.api.routing import StrictRoute
from delivery.api.shapes import Reason

router = APIRouter(tags=["event types"], route_class=StrictRoute)

_MOST_VERSION = 1_000_000
_DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The document.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


AskedVersion = Annotated[
    int | None, Query(ge=1, le=_MOST_VERSION, description="This version. Else the newest.")
]


@router.get("/v1/event-types")
async def list_event_types(
    uses: Uses,
    _caller: Looking,
    *,
    archived: Annotated[bool, Query(description="Archived ones too.")] = False,
) -> EventTypeList:
    """List the types of the catalogue by name: all of them in one answer, without schemas and examples."""
    types = await uses.catalogue.types(archived=archived)
    return EventTypeList(items=[EventTypeOut.of(one) for one in types], next=None)


@router.get("/v1/event-types/{event_type}")
async def read_event_type(
    uses: Uses, _caller: Looking, event_type: EventTypeInPath, version: AskedVersion = None
) -> WholeEventTypeOut:
    """Read a type, archived or not, with the schema and the examples of its newest version, or of another."""
    return WholeEventTypeOut.told(await uses.catalogue.read(event_type, version=version))


@router.put("/v1/event-types/{event_type}", responses={201: {"model": WholeEventTypeOut}})
async def declare_event_type(
    uses: Uses,
    actor: AsOperator,
    event_type: EventTypeInPath,
    given: EventTypeIn,
    response: Response,
    reason: Reason = None,
) -> WholeEventTypeOut:
    """Have a type be so from now on. Another schema or other examples make a new version; the rest does not.

    The answer is 201 where the type is new, or was archived. Whether it is deprecated stays as it was.
    """
    told, is_new = await uses.catalogue.declare(event_type, given.asked(), reason=reason, actor=actor)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/event-types/{event_type}"
    return WholeEventTypeOut.told(told)


@router.patch("/v1/event-types/{event_type}")
async def change_event_type(
    uses: Uses, actor: AsOperator, event_type: EventTypeInPath, given: EventTypePatch, reason: Reason = None
) -> WholeEventTypeOut:
    """Change what is named and nothing else, such as that the type is deprecated. No new version."""
    told = await uses.catalogue.change(event_type, changes_of(given), reason=reason, actor=actor)
    return WholeEventTypeOut.told(told)


@router.delete("/v1/event-types/{event_type}", status_code=204)
async def archive_event_type(
    uses: Uses, actor: AsOperator, event_type: EventTypeInPath, reason: Reason = None
) -> None:
    """Take a type out of the catalogue. Its events are still accepted, unchecked; its versions are kept."""
    await uses.catalogue.archive(event_type, reason=reason, actor=actor)


@router.get("/v1/event-catalogue/openapi", responses=_DOCUMENT, response_class=Response)
async def export_openapi(uses: Uses, _caller: Looking) -> Response:
    """The catalogue as an OpenAPI 3.1 document, each type one of its `webhooks`."""
    return _document(await uses.catalogue.export("openapi"))


@router.get("/v1/event-catalogue/asyncapi", responses=_DOCUMENT, response_class=Response)
async def export_asyncapi(uses: Uses, _caller: Looking) -> Response:
    """The catalogue as an AsyncAPI 3 document, each type a message."""
    return _document(await uses.catalogue.export("asyncapi"))


def _document(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
