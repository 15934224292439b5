"""Exports: everything that a search finds, in one answer that is written while it is read."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from delivery.api.callers import OPERATOR, Seeing, Uses
from delivery.api.routing import StrictRoute
from delivery.api.selections import AskedSelection, refuse_unless_cheap
from delivery.exporting import Format
from delivery.selection import refuse_unless_meant

router = APIRouter(prefix="/v1/exports", tags=["exports"], route_class=StrictRoute)

AskedFormat = Annotated[
    Format, Query(alias="format", description="A JSON document a line, or CSV with a header.")
]
AskedAll = Annotated[
    bool, Query(alias="all", description="No filter at all is meant so. With the operator's key.")
]
_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The rows, oldest delivery first. Only an answer that ends properly is complete.",
        "content": {form.media_type.partition(";")[0]: {"schema": {"type": "string"}} for form in Format},
    }
}


@router.get("/deliveries", response_class=StreamingResponse, responses=_LINES)
async def export_deliveries(
    uses: Uses,
    seeing: Seeing,
    wanted: AskedSelection,
    form: AskedFormat = Format.JSONL,
    everything: AskedAll = False,  # noqa: FBT002  a query parameter
) -> StreamingResponse:
    """Export the deliveries that a search finds. Those made after it began are not in it.

    The operator exports all tenants' unless the header `Waybill-Tenant` names one.
    """
    refuse_unless_meant(wanted, everything=everything, operator=seeing.actor.name == OPERATOR)
    refuse_unless_cheap(seeing, wanted)
    return await _streamed("deliveries", form, uses.exports.deliveries(seeing.tenant_id, wanted, form))


@router.get("/attempts", response_class=StreamingResponse, responses=_LINES)
async def export_attempts(
    uses: Uses,
    seeing: Seeing,
    wanted: AskedSelection,
    form: AskedFormat = Format.JSONL,
    everything: AskedAll = False,  # noqa: FBT002  a query parameter
) -> StreamingResponse:
    """Export all attempts of the deliveries that a search finds, without bodies."""
    refuse_unless_meant(wanted, everything=everything, operator=seeing.actor.name == OPERATOR)
    refuse_unless_cheap(seeing, wanted)
    return await _streamed("attempts", form, uses.exports.attempts(seeing.tenant_id, wanted, form))


async def _streamed(
    name: str, form: Format, pieces: AsyncGenerator[tuple[int, bytes], None]
) -> StreamingResponse:
    """Begin only once the first rows are there: a ledger that does not answer is still told as a problem.

    What goes wrong later leaves the answer without its end, so that the client notices.
    """
    first = b""
    async for count, piece in pieces:
        first += piece
        if count:
            break
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(_from(first, pieces), media_type=form.media_type, headers=headers)


async def _from(first: bytes, pieces: AsyncGenerator[tuple[int, bytes], None]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for _, piece in pieces:
        if piece:
            yield piece
