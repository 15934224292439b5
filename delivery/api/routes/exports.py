"""Exports: all results of a search, streamed in one response."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from delivery.api.http.auth import (
    OPERATOR,
    RequiresReadAnyTenant,
    ServicesDep,
    require_tenant_for_costly_filters,
)
from delivery.api.http.delivery_filter import DeliveryFilterDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.delivery_filter import require_bounded_filter
from delivery.services.exports.rows import ExportFormat

router = APIRouter(prefix="/v1/exports", tags=["exports"], route_class=StrictRoute)

FormatQuery = Annotated[ExportFormat, Query(alias="format", description="JSON Lines, or CSV with a header.")]
AllQuery = Annotated[
    bool,
    Query(alias="all", description="Confirm an export without any filter. Only with the operator's key."),
]
_STREAM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The rows, oldest delivery first. A response without a proper end is incomplete.",
        "content": {
            form.media_type.partition(";")[0]: {"schema": {"type": "string"}} for form in ExportFormat
        },
    }
}


@router.get("/deliveries", response_class=StreamingResponse, responses=_STREAM_RESPONSES)
async def export_deliveries(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    selection: DeliveryFilterDep,
    export_format: FormatQuery = ExportFormat.JSONL,
    everything: AllQuery = False,  # noqa: FBT002  a query parameter
) -> StreamingResponse:
    """Export the deliveries that match a search, without those created after it began.

    The operator exports all tenants' deliveries unless the header `Waybill-Tenant` names one.
    """
    require_bounded_filter(selection, allow_unbounded=everything, is_operator=caller.actor.name == OPERATOR)
    require_tenant_for_costly_filters(caller, selection)
    return await _stream_rows(
        "deliveries",
        export_format,
        services.exports.export_deliveries(caller.tenant_id, selection, export_format),
    )


@router.get("/attempts", response_class=StreamingResponse, responses=_STREAM_RESPONSES)
async def export_attempts(
    services: ServicesDep,
    caller: RequiresReadAnyTenant,
    selection: DeliveryFilterDep,
    export_format: FormatQuery = ExportFormat.JSONL,
    everything: AllQuery = False,  # noqa: FBT002  a query parameter
) -> StreamingResponse:
    """Export all attempts of the deliveries that match a search, without bodies."""
    require_bounded_filter(selection, allow_unbounded=everything, is_operator=caller.actor.name == OPERATOR)
    require_tenant_for_costly_filters(caller, selection)
    return await _stream_rows(
        "attempts",
        export_format,
        services.exports.export_attempts(caller.tenant_id, selection, export_format),
    )


async def _stream_rows(
    name: str, export_format: ExportFormat, pieces: AsyncGenerator[tuple[int, bytes], None]
) -> StreamingResponse:
    """Start the response after the first rows, so that a database error can still become a problem.

    A later error leaves the response without its end, so that the client notices.
    """
    first = b""
    async for count, piece in pieces:
        first += piece
        if count:
            break
    headers = {"Content-Disposition": f'attachment; filename="{name}.{export_format}"'}
    return StreamingResponse(
        _chain_pieces(first, pieces), media_type=export_format.media_type, headers=headers
    )


async def _chain_pieces(
    first: bytes, pieces: AsyncGenerator[tuple[int, bytes], None]
) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for _, piece in pieces:
        if piece:
            yield piece
